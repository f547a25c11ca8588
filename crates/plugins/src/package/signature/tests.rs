use ed25519_dalek::{Signer as _, SigningKey};

use super::*;

const UNSIGNED: &str = "name = \"connector-x\"\nversion = \"1.0.0\"\nauthor = \"a\"\ndescription = \"d\"\n\
    signature_alg = \"ed25519\"\n\n[[capabilities]]\ntype = \"ShellExec\"\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn trust(seeds: &[u8]) -> Trust {
    let public = |seed: &u8| PublicKey(key(*seed).verifying_key());
    Trust { keys: seeds.iter().map(|seed| (seed.to_string(), public(seed))).collect(), ..Trust::default() }
}

fn line(unsigned: &str) -> String {
    let signature = key(1).sign(unsigned.as_bytes());
    format!("signature = \"{}\"\n", HEXLOWER.encode(&signature.to_bytes()))
}

/// `UNSIGNED` with its signature where it belongs.
fn signed() -> String {
    let alg = std::str::from_utf8(ALGORITHM_LINE).unwrap();
    UNSIGNED.replace(alg, &format!("{alg}{}", line(UNSIGNED)))
}

fn read(text: &str) -> Result<Option<Signed>, SignatureFault> {
    Signed::read(text.as_bytes(), &Manifest::parse(text).unwrap_or_else(|error| panic!("{error:?}: {text}")))
}

#[test]
fn a_signature_names_the_trusted_key_that_made_it() {
    let signed = read(&signed()).unwrap().unwrap();
    assert_eq!(signed.signer(&trust(&[3, 1, 2])), Some("1"));
    assert_eq!(signed.signer(&trust(&[2, 3])), None);
    assert_eq!(signed.signer(&Trust::default()), None);
    assert_eq!(signed.message, UNSIGNED.as_bytes());
}

#[test]
fn the_vectors_of_rfc_8032_hold() {
    for (key, message, signature, holds) in [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            true,
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "r",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            true,
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "s",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            false,
        ),
    ] {
        let signature = Signature::from_bytes(&decoded(signature.as_bytes()).unwrap());
        let signed = Signed { message: message.into(), signature };
        let trust = Trust { keys: [("rfc".to_owned(), key.parse().unwrap())].into(), ..Trust::default() };
        assert_eq!(signed.signer(&trust).is_some(), holds, "{message:?}");
    }
}

#[test]
fn every_changed_byte_ends_the_signature() {
    let whole = signed();
    for at in 0..whole.len() {
        let mut bytes = whole.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let Ok(manifest) = Manifest::parse(&text) else { continue };
        let signer = Signed::read(text.as_bytes(), &manifest)
            .is_ok_and(|signed| signed.is_some_and(|signed| signed.signer(&trust(&[1])).is_some()));
        assert!(!signer, "byte {at}: {text}");
    }
}

#[test]
fn a_tampered_manifest_is_not_a_signed_one() {
    use SignatureFault as F;
    let (whole, line) = (signed(), line(UNSIGNED));
    let digits = &line["signature = \"".len()..line.len() - 2];
    let alg = "signature_alg = \"ed25519\"\n";
    for (what, text, fault) in [
        ("the signature before the algorithm", format!("{line}{UNSIGNED}"), F::Moved),
        ("a comment between the two", whole.replace(&line, &format!("# x\n{line}")), F::Moved),
        ("the algorithm spelled otherwise", whole.replace("alg = ", "alg  = "), F::Moved),
        ("the algorithm behind a comment", whole.replace(alg, &format!("{}# x\n", alg.trim_end())), F::Moved),
        ("another algorithm", whole.replace("ed25519", "ed448"), F::Algorithm("ed448".into())),
        ("no algorithm", whole.replace(alg, ""), F::NoAlgorithm),
        ("no signature", whole.replace(&line, ""), F::NoSignature),
        ("carriage returns", whole.replace('\n', "\r\n"), F::CarriageReturn),
        ("one carriage return", whole.replace(&line, &line.replace('\n', "\r\n")), F::CarriageReturn),
        ("a short signature", whole.replace(digits, &digits[2..]), F::Form),
        ("an odd signature", whole.replace(digits, &digits[1..]), F::Form),
        ("a long signature", whole.replace(digits, &format!("{digits}00")), F::Form),
        ("upper case", whole.replace(digits, &digits.to_uppercase()), F::Form),
        ("an empty signature", whole.replace(digits, ""), F::Form),
        ("trailing text", whole.replace(&line, &format!("{} # ok\n", line.trim_end())), F::Form),
        ("a trailing blank", whole.replace(&line, &format!("{} \n", line.trim_end())), F::Form),
        ("indented", whole.replace(&line, &format!(" {line}")), F::Form),
        ("other blanks", whole.replace("signature = ", "signature="), F::Form),
        ("other quotes", whole.replace(&line, &line.replace('"', "'")), F::Form),
        ("a quoted key", whole.replace("signature = ", "\"signature\" = "), F::Form),
        (
            "the end of the file",
            format!("{}{alg}{}", UNSIGNED.split(alg).next().unwrap(), line.trim_end()),
            F::Form,
        ),
        ("doubled in another field", whole.replace("\"d\"", &format!("\"\"\"\n{line}\"\"\"")), F::Doubled),
        (
            "inside another field",
            UNSIGNED.replace(alg, "").replace("\"d\"", &format!("\"\"\"\n{alg}{line}\"\"\"")),
            F::Elsewhere,
        ),
        (
            "another one inside another field",
            UNSIGNED
                .replace(alg, &format!("{alg}'signature' = \"{}\"\n", "0".repeat(128)))
                .replace("\"d\"", &format!("\"\"\"\n{alg}{line}\"\"\"")),
            F::Elsewhere,
        ),
    ] {
        assert_eq!(read(&text).map(|_| ()), Err(fault), "{what}: {text}");
    }
    for text in [
        whole.replace(&line, &format!("{line}{line}")),
        format!("{}{line}", whole.replace(&line, "")),
        whole.replace(&line, &format!("{line}trailing\n")),
    ] {
        assert!(Manifest::parse(&text).is_err(), "{text}");
    }
}

#[test]
fn a_manifest_without_a_signature_has_none() {
    let text = UNSIGNED.replace("signature_alg = \"ed25519\"\n", "# signature = none\n");
    assert!(read(&text).unwrap().is_none());
}

#[test]
fn these_are_no_public_keys() {
    let good = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(good.parse::<PublicKey>().unwrap().to_string(), good);
    let neutral = format!("01{}", "00".repeat(31));
    for text in ["", &good[2..], &good.to_uppercase(), &format!("ed25519:{good}"), &neutral] {
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError), "{text}");
    }
}
