use proptest::prelude::*;

use super::*;

fn policy(hosts: &[&str], loopback: &[u16]) -> Policy {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Policy { open: false, hosts, loopback: loopback.to_vec() }
}

fn named() -> Policy {
    policy(
        &[
            "example.org",
            "*.example.net:443",
            "any.example:*",
            "10.1.2.3:8080",
            "[fd00::1]:443",
            "10.9.0.0/16",
        ],
        &[5432],
    )
}

#[test]
fn what_is_named_may_be_reached() {
    let policy = named();
    for (host, port) in [
        ("example.org", 443),
        ("example.org", 80),
        ("EXAMPLE.org", 443),
        ("example.org.", 443),
        ("a.example.net", 443),
        ("a.b.example.net", 443),
        ("any.example", 22),
        ("10.1.2.3", 8080),
        ("::ffff:10.1.2.3", 8080),
        ("[fd00::1]", 443),
        ("10.9.8.7", 443),
        ("localhost", 5432),
        ("127.0.0.1", 5432),
        ("127.9.9.9", 5432),
        ("[::1]", 5432),
    ] {
        assert!(policy.allows(host, port).is_ok(), "{host}:{port}");
    }
}

#[test]
fn nothing_else_may_be_reached() {
    let policy = named();
    for (host, port, why) in [
        ("example.org", 22, Refusal::NotNamed),
        ("www.example.org", 443, Refusal::NotNamed),
        ("notexample.org", 443, Refusal::NotNamed),
        ("example.org.evil.example", 443, Refusal::NotNamed),
        ("example.net", 443, Refusal::NotNamed),
        ("evilexample.net", 443, Refusal::NotNamed),
        (".example.net", 443, Refusal::Malformed),
        ("a.example.net", 80, Refusal::NotNamed),
        ("exаmple.org", 443, Refusal::NotNamed),
        ("8.8.8.8", 443, Refusal::NotNamed),
        ("[2606:4700::1111]", 443, Refusal::NotNamed),
        ("10.1.2.3", 443, Refusal::Address(Scope::Private)),
        ("10.1.2.4", 8080, Refusal::Address(Scope::Private)),
        ("localhost", 4096, Refusal::Loopback),
        ("LOCALHOST.", 4096, Refusal::Loopback),
        ("a.localhost", 4096, Refusal::Loopback),
        ("127.0.0.1", 4096, Refusal::Loopback),
        ("127.1", 4096, Refusal::Loopback),
        ("0x7f000001", 4096, Refusal::Loopback),
        ("2130706433", 4096, Refusal::Loopback),
        ("0177.0.0.1", 4096, Refusal::Loopback),
        ("0.0.0.0", 4096, Refusal::Loopback),
        ("0", 4096, Refusal::Loopback),
        ("[::]", 4096, Refusal::Loopback),
        ("[::1]", 4096, Refusal::Loopback),
        ("[::ffff:127.0.0.1]", 4096, Refusal::Loopback),
        ("[::ffff:7f00:1]", 4096, Refusal::Loopback),
        ("[::127.0.0.1]", 4096, Refusal::Loopback),
        ("[64:ff9b::7f00:1]", 4096, Refusal::Loopback),
        ("[2002:7f00:1::]", 4096, Refusal::Loopback),
        ("169.254.169.254", 80, Refusal::Address(Scope::Link)),
        ("[::ffff:169.254.169.254]", 80, Refusal::Address(Scope::Link)),
        ("[fe80::1]", 80, Refusal::Address(Scope::Link)),
        ("192.168.1.1", 80, Refusal::Address(Scope::Private)),
        ("172.16.0.1", 80, Refusal::Address(Scope::Private)),
        ("100.64.0.1", 80, Refusal::Address(Scope::Private)),
        ("192.0.2.1", 443, Refusal::Address(Scope::Private)),
        ("203.0.113.80", 443, Refusal::Address(Scope::Private)),
        ("[fd00::2]", 443, Refusal::Address(Scope::Private)),
        ("224.0.0.1", 80, Refusal::Address(Scope::Nobody)),
        ("255.255.255.255", 80, Refusal::Address(Scope::Nobody)),
        ("[ff02::1]", 80, Refusal::Address(Scope::Nobody)),
        ("", 80, Refusal::Malformed),
        ("example.org@evil.example", 443, Refusal::Malformed),
        ("example.org/evil", 443, Refusal::Malformed),
        ("example.org\0.evil", 443, Refusal::Malformed),
    ] {
        assert_eq!(policy.allows(host, port), Err(why), "{host}:{port}");
    }
}

#[test]
fn a_name_that_comes_to_stand_for_a_near_address_does_not_open_it() {
    let policy = named();
    let judged =
        |name, address: &str, port| policy.allows_address(Some(name), address.parse().unwrap(), port);
    for (address, why) in [
        ("127.0.0.1", Refusal::Loopback),
        ("::1", Refusal::Loopback),
        ("::ffff:127.0.0.1", Refusal::Loopback),
        ("0.0.0.0", Refusal::Loopback),
        ("169.254.169.254", Refusal::Address(Scope::Link)),
        ("10.0.0.1", Refusal::Address(Scope::Private)),
        ("64:ff9b::a00:1", Refusal::Address(Scope::Private)),
        ("fd12::1", Refusal::Address(Scope::Private)),
        ("198.51.100.7", Refusal::Address(Scope::Private)),
    ] {
        assert_eq!(judged("example.org", address, 443), Err(why), "{address}");
        assert_eq!(
            judged("example.org", address, 5432),
            Err(why),
            "{address}: not by a port of this machine"
        );
    }
    assert_eq!(judged("example.org", "93.184.215.14", 443), Ok(()));
    assert_eq!(judged("example.org", "10.9.8.7", 443), Ok(()), "name and address are both named");
    assert_eq!(judged("localhost", "127.0.0.1", 5432), Ok(()));
    assert_eq!(judged("localhost", "10.9.8.7", 5432), Err(Refusal::Address(Scope::Private)));
}

#[test]
fn an_open_network_is_open_to_public_addresses_alone() {
    let policy = Policy { open: true, ..Policy::default() };
    for host in ["example.org", "8.8.8.8", "[2606:4700::1111]"] {
        assert!(policy.allows(host, 25).is_ok(), "{host}");
    }
    for host in ["localhost", "127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[fe80::1]"] {
        assert!(policy.allows(host, 80).is_err(), "{host}");
    }
}

#[test]
fn what_is_no_pattern_is_an_error_that_names_it() {
    for text in [
        "",
        "*",
        "*.",
        "*.org",
        "a*.example.org",
        "*.*.example.org",
        "example.org:",
        "example.org:0",
        "example.org:+80",
        "example.org:65536",
        "example.org:80:81",
        "http://example.org",
        "example.org/x",
        "exam ple.org",
        "::1",
        "[::1",
        "[::1]x",
        "[zz]",
        "localhost",
        "a.localhost:80",
        ".example.org",
        "example..org",
        "127.1",
        "0x7f000001",
        "user@example.org",
        "10.0.0.0/33",
    ] {
        let error = text.parse::<HostPattern>().unwrap_err();
        assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
    }
}

proptest! {
    #[test]
    fn a_pattern_is_read_back_as_it_is_shown(
        text in r"(\*\.)?[a-z][a-z0-9-]{0,8}(\.[a-z][a-z0-9]{1,5}){1,3}(:([1-9][0-9]{0,3}|\*))?"
    ) {
        let pattern: HostPattern = text.parse().unwrap();
        prop_assert_eq!(pattern.to_string(), text);
    }

    #[test]
    fn no_near_address_is_public(bits in any::<u32>()) {
        let v4 = std::net::Ipv4Addr::from(bits);
        let near = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_multicast() || v4.is_unspecified();
        prop_assert!(!(near && Scope::of(v4.into()) == Scope::Public));
        prop_assert_eq!(Scope::of(v4.to_ipv6_mapped().into()), Scope::of(v4.into()));
    }
}
