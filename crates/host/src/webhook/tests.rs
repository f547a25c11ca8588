use std::time::Duration;

use connector_gate::clock::Millis;

use super::*;
use crate::config::Verify;

const TOLERANCE: Duration = Duration::from_mins(5);

fn proof(verify: Verify, secret: &str) -> Proof {
    Proof::new(verify, Some(secret.into()), None).unwrap()
}

fn headers(given: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    headers
}

/// The example of GitHub's documentation, "Validating webhook deliveries".
const GITHUB: (&str, &str, &str) = (
    "It's a Secret to Everybody",
    "Hello, World!",
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
);

#[test]
fn the_example_of_githubs_documentation_holds_and_nothing_near_it() {
    let (secret, body, signature) = GITHUB;
    let judged = |secret: &str, body: &str, given: &[(&str, &str)]| {
        let headers = headers(given);
        let proof = proof(Verify::Github, secret);
        proof.admits(&headers).and_then(|()| proof.holds(&headers, body.as_bytes(), 0, TOLERANCE))
    };
    let name = "X-Hub-Signature-256";
    assert_eq!(judged(secret, body, &[(name, signature)]), Ok(()));
    assert_eq!(judged(secret, body, &[(name, &signature.to_uppercase().replace("SHA", "sha"))]), Ok(()));
    for wrong in [
        judged(secret, "Hello, World?", &[(name, signature)]),
        judged(secret, "", &[(name, signature)]),
        judged("It's a Secret to Nobody at all", body, &[(name, signature)]),
        judged(secret, body, &[(name, &signature[..69])]),
        judged(secret, body, &[(name, "sha256=")]),
        judged(secret, body, &[(name, "")]),
        judged(secret, body, &[(name, &signature.replace("sha256", "sha1"))]),
        judged(secret, body, &[(name, &format!("{signature}00"))]),
    ] {
        assert_eq!(wrong, Err(Refused::Signature));
    }
    for none in [&[][..], &[("X-Hub-Signature", signature)], &[(name, signature), (name, signature)]] {
        assert_eq!(judged(secret, body, none), Err(Refused::Header));
    }
}

/// Of the tests of the Standard Webhooks libraries, and of Svix's documentation.
const STANDARD: [(&str, &str, &str, &str, &str); 2] = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        "{\"test\": 2432232314}",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        "1731705121",
        "{\"event_type\":\"ping\",\"data\":{\"success\":true}}",
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
];

#[test]
fn the_vectors_of_standard_webhooks_hold_while_they_are_recent() {
    for (secret, id, at, body, signature) in STANDARD {
        let signed_at = at.parse::<Millis>().unwrap() * 1_000;
        let judged = |names: [&str; 3], values: [&str; 3], now: Millis| {
            let headers = headers(&[(names[0], values[0]), (names[1], values[1]), (names[2], values[2])]);
            let proof = proof(Verify::Standard, secret);
            proof.admits(&headers).and_then(|()| proof.holds(&headers, body.as_bytes(), now, TOLERANCE))
        };
        let webhook = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let svix = ["svix-id", "svix-timestamp", "svix-signature"];
        for names in [webhook, svix] {
            for (now, verdict) in [
                (signed_at, Ok(())),
                (signed_at + 300_000, Ok(())),
                (signed_at - 300_000, Ok(())),
                (signed_at + 300_001, Err(Refused::Time(300))),
                (signed_at - 300_001, Err(Refused::Time(300))),
                (0, Err(Refused::Time(300))),
            ] {
                assert_eq!(judged(names, [id, at, signature], now), verdict, "{now}");
            }
        }
        let rotated = format!("v1a,AAAA v1,AAAA {signature} v2,{}", &signature[3..]);
        assert_eq!(judged(webhook, [id, at, &rotated], signed_at), Ok(()));
        let later = (signed_at / 1_000 + 1).to_string();
        let many = format!("{}{signature}", "v1,AAAA ".repeat(8));
        for values in [
            ["msg_other", at, signature],
            [id, &later, signature],
            [id, at, &signature[3..]],
            [id, at, &signature.replace("v1", "v2")],
            [id, at, "v1,"],
            [id, at, &many],
        ] {
            assert_eq!(judged(webhook, values, signed_at), Err(Refused::Signature), "{values:?}");
        }
        for at in ["", "now", "-1", "1e9", "99999999999999999999"] {
            assert_eq!(judged(webhook, [id, at, signature], signed_at), Err(Refused::Time(300)), "{at}");
        }
        let missing = ["webhook-id", "webhook-timestamp", "other"];
        assert_eq!(judged(missing, [id, at, signature], signed_at), Err(Refused::Header));
    }
}

#[test]
fn a_token_is_the_very_token_and_without_a_proof_everybody_is_heard() {
    let secret = "0123456789abcdef";
    let judged = |value: &str| {
        let (proof, headers) = (proof(Verify::Token, secret), headers(&[("x-gitlab-token", value)]));
        let before = proof.admits(&headers);
        assert_eq!(before, proof.holds(&headers, b"", 0, TOLERANCE), "the body says nothing of it");
        before
    };
    assert_eq!(judged(secret), Ok(()));
    for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "Bearer 0123456789abcdef"] {
        assert_eq!(judged(wrong), Err(Refused::Token));
    }
    assert_eq!(Proof::None.holds(&headers(&[]), b"", 0, TOLERANCE), Ok(()));
}

fn hook(text: &str, environment: &Environment) -> Result<Hook, String> {
    let config: HookConfig = toml::from_str(text).unwrap();
    Hook::new(&HookPath::parse("/ci").unwrap(), &config, environment)
}

#[test]
fn what_cannot_be_meant_is_refused_without_the_secret_in_it() {
    let environment = Environment::default().with("GOOD", "hunter2-hunter2-hunter2").with("SHORT", "hunter2");
    let environment = environment.with("WHSEC", STANDARD[0].0);
    for (text, words) in [
        ("verify = \"github\"", "there is no `secret`"),
        ("verify = \"token\"", "there is no `secret`"),
        ("verify = \"standard\"", "there is no `secret`"),
        ("verify = \"standard\"\nsecret = \"env:GOOD\"", "`whsec_`"),
        ("verify = \"github\"\nsecret = \"env:SHORT\"", "could be guessed"),
        ("verify = \"github\"\nsecret = \"env:UNSET\"", "UNSET, which is not set"),
        ("verify = \"none\"\nsecret = \"env:GOOD\"", "leave one of them out"),
        ("verify = \"none\"\nheader = \"x-a\"", "`header` is for"),
        ("verify = \"github\"\nsecret = \"env:GOOD\"\nheader = \"a b\"", "no name of a header"),
        ("verify = \"none\"\nheaders = [\"Authorization\"]", "lets no secret through"),
        (
            "verify = \"token\"\nsecret = \"env:GOOD\"\nheader = \"x-key\"\nheaders = [\"X-Key\"]",
            "lets no secret through",
        ),
        (
            "verify = \"token\"\nsecret = \"env:GOOD\"\nheader = \"X-Key\"\nid_header = \"x-kEY\"",
            "`id_header` lets no secret through",
        ),
        (
            "verify = \"token\"\nsecret = \"env:GOOD\"\nid_header = \"x-gitlab-token\"",
            "`id_header` lets no secret through",
        ),
        (
            "verify = \"github\"\nsecret = \"env:GOOD\"\nid_header = \"X-Hub-Signature-256\"",
            "`id_header` lets no secret through",
        ),
        ("verify = \"none\"\nid_header = \"AUTHORIZATION\"", "`id_header` lets no secret through"),
        ("verify = \"standard\"\nsecret = \"env:WHSEC\"\nid_header = \"x-id\"", "`id_header` is not for"),
    ] {
        let wrong = hook(text, &environment).unwrap_err();
        assert!(wrong.contains(words) && !wrong.contains("hunter2"), "{text}: {wrong}");
    }
    let fine = hook("verify = \"github\"\nsecret = \"env:GOOD\"", &environment).unwrap();
    assert!(!format!("{fine:?}").contains("hunter2"));
}

#[test]
fn a_delivery_is_known_by_its_id_or_else_by_its_body() {
    let environment = Environment::default().with("S", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let hook = |text: &str| hook(text, &environment).unwrap();
    let github = hook("verify = \"github\"\nsecret = \"env:S\"");
    let standard = hook("verify = \"standard\"\nsecret = \"env:S\"");
    let gitlab = hook("verify = \"token\"\nsecret = \"env:S\"");
    let token = hook("verify = \"token\"\nsecret = \"env:S\"\nheader = \"X-Key\"");
    let own = hook("verify = \"none\"\nid_header = \"X-Id\"\nheaders = [\"X-Kind\"]");
    let digest =
        Delivery::Digest("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned());
    let named = |id: &str| Some(Delivery::Named(id.to_owned()));
    let long = "x".repeat(201);
    for (hook, given, delivery) in [
        (&github, &[("x-github-delivery", "d1")][..], named("d1")),
        (&github, &[("webhook-id", "d1")], Some(digest.clone())),
        (&standard, &[("webhook-id", "d2"), ("x-github-delivery", "d1")], named("d2")),
        (&standard, &[("svix-id", "d2")], named("d2")),
        (&gitlab, &[("idempotency-key", "d4")], named("d4")),
        (&token, &[("idempotency-key", "d4")], Some(digest.clone())),
        (&own, &[("x-id", "d3")], named("d3")),
        (&own, &[], Some(digest)),
        (&own, &[("x-id", "")], None),
        (&own, &[("x-id", &long)], None),
        (&own, &[("x-id", "ä")], None),
    ] {
        assert_eq!(hook.delivery(&headers(given), b"hello"), delivery, "{given:?}");
    }
    let given =
        headers(&[("x-kind", "a"), ("x-other", "b"), ("authorization", "c"), ("X-GitHub-Event", "push")]);
    let body = json!({ "a": 1, "button_of_result": "commit" });
    let event = own.event(&Delivery::Named("d3".to_owned()), &given, body);
    let passed = json!({ "x-github-event": "push", "x-kind": "a" });
    assert_eq!(event.payload, json!({ "a": 1, "webhook": { "path": "/ci", "id": "d3", "headers": passed } }));
    assert_eq!(event.id, "webhook:/ci:id:d3");
}
