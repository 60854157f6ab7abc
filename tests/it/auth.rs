//! Tokens: which are taken, which are refused and why.

use backbeat::{
    auth::{AuthError, KeyError, Verifier},
    domain::{
        clock::{Clock, SystemClock},
        viewer::Role,
    },
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::app::SECRET;

const RS256_PRIVATE: &str = include_str!("keys/rs256.private.pem");
const RS256_PUBLIC: &str = include_str!("keys/rs256.public.pem");
const ES256_PRIVATE: &str = include_str!("keys/es256.private.pem");
const ES256_PUBLIC: &str = include_str!("keys/es256.public.pem");
const EDDSA_PRIVATE: &str = include_str!("keys/eddsa.private.pem");
const EDDSA_PUBLIC: &str = include_str!("keys/eddsa.public.pem");
const STRANGER_PRIVATE: &str = include_str!("keys/stranger.private.pem");
const JWKS: &str = include_str!("keys/jwks.json");

/// What signs: an algorithm, its key, and the key's id in `jwks.json`.
fn signers() -> [(Algorithm, EncodingKey, Option<&'static str>); 4] {
    [
        (Algorithm::HS256, EncodingKey::from_secret(SECRET.as_bytes()), None),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(RS256_PRIVATE.as_bytes()).unwrap(), Some("rs256")),
        (Algorithm::ES256, EncodingKey::from_ec_pem(ES256_PRIVATE.as_bytes()).unwrap(), Some("es256")),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(EDDSA_PRIVATE.as_bytes()).unwrap(), Some("eddsa")),
    ]
}

fn verifier(add: impl FnOnce(&mut Verifier)) -> Verifier {
    let mut verifier = Verifier::new("backbeat", "backbeat");
    add(&mut verifier);
    verifier
}

fn verifier_of_pem(pem: &str) -> Verifier {
    verifier(|verifier| verifier.add_pem(pem).unwrap())
}

fn now_s() -> i64 {
    SystemClock.now_ms() / 1_000
}

fn claims() -> Value {
    json!({
        "sub": "anna", "iss": "backbeat", "aud": "backbeat", "exp": now_s() + 600, "iat": now_s(),
        "role": "artist", "artists": ["artist-1", "artist-2"], "source": "player",
    })
}

fn sign(algorithm: Algorithm, key: &EncodingKey, key_id: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn sign_with_secret(claims: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), None, claims)
}

#[test]
fn a_token_says_who_its_bearer_is() {
    let verifier = verifier(|verifier| verifier.add_secret(SECRET));
    let claims = claims();
    let viewer = verifier.viewer(&sign_with_secret(&claims)).unwrap();
    assert_eq!((viewer.role, viewer.subject.as_deref()), (Role::Artist, Some("anna")));
    assert_eq!(viewer.artists.iter().collect::<Vec<_>>(), ["artist-1", "artist-2"]);
    assert_eq!((viewer.source.as_str(), viewer.expires_at_s), ("player", claims["exp"].as_i64().unwrap()));
}

#[test]
fn each_algorithm_is_taken_with_its_key_and_with_no_other() {
    let verifiers = [
        ("secret", verifier(|verifier| verifier.add_secret(SECRET)), Algorithm::HS256),
        ("RSA PEM", verifier_of_pem(RS256_PUBLIC), Algorithm::RS256),
        ("EC PEM", verifier_of_pem(ES256_PUBLIC), Algorithm::ES256),
        ("Ed25519 PEM", verifier_of_pem(EDDSA_PUBLIC), Algorithm::EdDSA),
    ];
    for (name, verifier, takes) in verifiers {
        for (algorithm, key, _) in signers() {
            let seen = verifier.viewer(&sign(algorithm, &key, None, &claims()));
            let expected = if algorithm == takes { Ok(Role::Artist) } else { Err(AuthError::WrongKey) };
            assert_eq!(seen.map(|viewer| viewer.role), expected, "{name}, {algorithm:?}");
        }
    }
}

#[test]
fn keys_of_a_jwks_document_are_taken_by_id_and_without() {
    let verifier = verifier(|verifier| verifier.add_jwks(JWKS).unwrap());
    for (algorithm, key, key_id) in signers() {
        let is_known = key_id.is_some();
        for (sent_id, is_taken) in [(key_id, is_known), (None, is_known), (Some("unknown"), false)] {
            let seen = verifier.viewer(&sign(algorithm, &key, sent_id, &claims()));
            let expected = if is_taken { Ok(Role::Artist) } else { Err(AuthError::WrongKey) };
            assert_eq!(seen.map(|viewer| viewer.role), expected, "{algorithm:?}, {sent_id:?}");
        }
    }
}

#[test]
fn a_key_of_a_jwks_document_without_alg_is_bound_by_its_type() {
    let mut document: Value = serde_json::from_str(JWKS).unwrap();
    for key in document["keys"].as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("alg");
    }
    let verifier = verifier(|verifier| verifier.add_jwks(&document.to_string()).unwrap());
    for (algorithm, key, key_id) in signers().into_iter().skip(1) {
        let viewer = verifier.viewer(&sign(algorithm, &key, key_id, &claims())).unwrap();
        assert_eq!(viewer.role, Role::Artist, "{algorithm:?}");
    }
    let rsa = EncodingKey::from_rsa_pem(RS256_PRIVATE.as_bytes()).unwrap();
    let seen = verifier.viewer(&sign(Algorithm::RS512, &rsa, Some("rs256"), &claims()));
    assert_eq!(seen.err(), Some(AuthError::WrongKey));
}

#[test]
fn several_keys_may_be_in_use_at_once() {
    let verifier = verifier(|verifier| {
        verifier.add_secret("the secret of yesterday, longer than thirty-two bytes");
        verifier.add_secret(SECRET);
        verifier.add_jwks(JWKS).unwrap();
    });
    for (algorithm, key, key_id) in signers() {
        assert!(verifier.viewer(&sign(algorithm, &key, key_id, &claims())).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_token_cannot_choose_its_algorithm() {
    let rsa = verifier_of_pem(RS256_PUBLIC);
    // Whoever knows the public key knows this "secret".
    let public_as_secret = EncodingKey::from_secret(RS256_PUBLIC.as_bytes());
    let rsa_key = EncodingKey::from_rsa_pem(RS256_PRIVATE.as_bytes()).unwrap();
    for (name, token) in [
        ("HS256 with the public key", sign(Algorithm::HS256, &public_as_secret, None, &claims())),
        ("RS384 with the right key", sign(Algorithm::RS384, &rsa_key, None, &claims())),
        ("PS256 with the right key", sign(Algorithm::PS256, &rsa_key, None, &claims())),
    ] {
        assert_eq!(rsa.viewer(&token).err(), Some(AuthError::WrongKey), "{name}");
    }
    let secret = verifier(|verifier| verifier.add_secret(SECRET));
    let hs384 = sign(Algorithm::HS384, &EncodingKey::from_secret(SECRET.as_bytes()), None, &claims());
    assert_eq!(secret.viewer(&hs384).err(), Some(AuthError::WrongKey));
}

#[test]
fn unsigned_and_tampered_tokens_are_refused() {
    let verifier = verifier(|verifier| {
        verifier.add_secret(SECRET);
        verifier.add_jwks(JWKS).unwrap();
    });
    let token = sign_with_secret(&claims());
    let mut admin = claims();
    admin["role"] = json!("admin");
    let admin_token = sign_with_secret(&admin);
    let parts: Vec<&str> = token.split('.').collect();
    let admin_parts: Vec<&str> = admin_token.split('.').collect();
    let stranger = EncodingKey::from_rsa_pem(STRANGER_PRIVATE.as_bytes()).unwrap();
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    for (name, token) in [
        ("empty", String::new()),
        ("no token", "not a token".to_owned()),
        ("alg none, unsigned", format!("{none}.{}.", parts[1])),
        ("alg none, signed", format!("{none}.{}.{}", parts[1], parts[2])),
        ("without its signature", format!("{}.{}.", parts[0], parts[1])),
        ("other claims under its signature", format!("{}.{}.{}", parts[0], admin_parts[1], parts[2])),
        ("another secret", sign(Algorithm::HS256, &EncodingKey::from_secret(b"guessed"), None, &claims())),
        ("a stranger's key", sign(Algorithm::RS256, &stranger, None, &claims())),
        ("a stranger's key under a known id", sign(Algorithm::RS256, &stranger, Some("rs256"), &claims())),
    ] {
        let refusal = verifier.viewer(&token).unwrap_err();
        assert!(matches!(refusal, AuthError::WrongKey | AuthError::Malformed), "{name}: {refusal:?}");
    }
}

#[test]
fn each_claim_is_required_and_checked() {
    let verifier = verifier(|verifier| verifier.add_secret(SECRET));
    let missing = || Value::Null;
    use AuthError::{Expired, Malformed, MissingClaim, NoArtists, NotYetValid, UnknownRole, WrongAudience};
    for (claim, value, expected) in [
        ("exp", missing(), Some(MissingClaim)),
        // Clocks may differ by half a minute, not by more; the test itself may take a few seconds.
        ("exp", json!(now_s() - 15), None),
        ("exp", json!(now_s() - 31), Some(Expired)),
        ("exp", json!(0), Some(Expired)),
        ("nbf", json!(now_s() + 15), None),
        ("nbf", json!(now_s() + 600), Some(NotYetValid)),
        ("iss", missing(), Some(MissingClaim)),
        ("iss", json!("somebody"), Some(WrongAudience)),
        ("iss", json!(""), Some(WrongAudience)),
        ("aud", missing(), Some(MissingClaim)),
        ("aud", json!("something"), Some(WrongAudience)),
        ("aud", json!(["something", "backbeat"]), None),
        ("aud", json!(["something"]), Some(WrongAudience)),
        ("sub", missing(), Some(MissingClaim)),
        ("sub", json!(""), Some(MissingClaim)),
        ("role", missing(), Some(MissingClaim)),
        ("role", json!(""), Some(MissingClaim)),
        ("role", json!(17), Some(MissingClaim)),
        ("role", json!("root"), Some(UnknownRole)),
        ("role", json!("Admin"), Some(UnknownRole)),
        ("artists", missing(), Some(NoArtists)),
        ("artists", json!([]), Some(NoArtists)),
        ("artists", json!("artist-1"), Some(Malformed)),
        ("artists", json!([1]), Some(Malformed)),
        ("source", missing(), None),
    ] {
        let mut claims = claims();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(claim),
            ref value => claims.as_object_mut().unwrap().insert(claim.to_owned(), value.clone()),
        };
        assert_eq!(verifier.viewer(&sign_with_secret(&claims)).err(), expected, "{claim}: {value}");
    }
}

#[test]
fn artists_are_only_an_artists_own() {
    let verifier = verifier(|verifier| verifier.add_secret(SECRET));
    for role in ["admin", "listener", "service"] {
        let mut claims = claims();
        claims["role"] = json!(role);
        let viewer = verifier.viewer(&sign_with_secret(&claims)).unwrap();
        assert!(viewer.artists.is_empty(), "{role}");
        assert_eq!(viewer.owns(Some("artist-1")), role == "admin", "{role}");
    }
}

#[test]
fn the_header_reads_bearer_and_a_token() {
    let verifier = verifier(|verifier| verifier.add_secret(SECRET));
    let token = sign_with_secret(&claims());
    for (header, expected) in [
        (format!("Bearer {token}"), None),
        (format!("bearer  {token} "), None),
        (format!("BEARER {token}"), None),
        (token.clone(), Some(AuthError::NotBearer)),
        (format!("Basic {token}"), Some(AuthError::NotBearer)),
        ("Bearer".to_owned(), Some(AuthError::NotBearer)),
        (String::new(), Some(AuthError::NotBearer)),
        (format!("Bearer {token} {token}"), Some(AuthError::Malformed)),
    ] {
        assert_eq!(verifier.viewer_of_header(&header).err(), expected, "{header}");
    }
}

#[test]
fn what_holds_no_usable_key_is_refused_at_start() {
    let mut verifier = Verifier::new("backbeat", "backbeat");
    for pem in ["", "text", RS256_PRIVATE, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert!(matches!(verifier.add_pem(pem), Err(KeyError::Pem)), "{pem}");
    }
    for (jwks, is_document) in [
        ("", false),
        ("[]", false),
        (r#"{"keys": []}"#, true),
        // A shared secret has no place among public keys.
        (r#"{"keys": [{"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}]}"#, true),
        (r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#, true),
    ] {
        match verifier.add_jwks(jwks) {
            Err(KeyError::NoKey) => assert!(is_document, "{jwks}"),
            Err(KeyError::Jwks(_)) => assert!(!is_document, "{jwks}"),
            other => panic!("{jwks}: {other:?}"),
        }
    }
}
