//! From a token to a [`Viewer`]: signature, algorithm, expiry, issuer, audience, role.

use std::collections::BTreeSet;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    errors::ErrorKind as JwtErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm},
};
use serde::{Deserialize, Serialize};

use crate::domain::viewer::{Role, Viewer};

/// Clocks of issuers may differ from ours by this much.
const LEEWAY_S: u64 = 30;
/// The namespace of event ids of tokens that do not name their own.
pub const DEFAULT_SOURCE: &str = "platform";

/// What a token says. Everything that [`Viewer`] needs is required.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub iss: String,
    pub aud: String,
    pub exp: i64,
    pub iat: i64,
    pub role: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artists: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Why a token was not taken. The texts are shown to the bearer; none holds the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("the Authorization header must read: Bearer, a blank, a token")]
    NotBearer,
    #[error("the token is not a JSON Web Token that this service can read")]
    Malformed,
    #[error("the token's signature or algorithm does not fit this service's key")]
    WrongKey,
    #[error("the token has expired; get a new one")]
    Expired,
    #[error("the token is not valid yet; check the issuer's clock")]
    NotYetValid,
    #[error("the token was made by another issuer or for another audience")]
    WrongAudience,
    #[error("the token lacks a claim: exp, iss, aud, sub and role are required")]
    MissingClaim,
    #[error("the token's role is not one of admin, artist, listener, service")]
    UnknownRole,
    #[error("the token's role is artist, but it names no artists")]
    NoArtists,
}

/// A key could not be read at start.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("is not a PEM public key for RS256, ES256 or EdDSA")]
    Pem,
    #[error("is not a JWKS document: {0}")]
    Jwks(String),
    #[error("holds no key that can verify RS256, ES256 or EdDSA")]
    NoKey,
}

/// A verification key and the one algorithm that it is good for: a token cannot choose another.
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// Verifies tokens against the configured keys.
pub struct Verifier {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
}

impl Verifier {
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self { keys: Vec::new(), issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// Adds a shared secret (HS256).
    pub fn add_secret(&mut self, secret: &str) {
        let decoding = DecodingKey::from_secret(secret.as_bytes());
        self.keys.push(Key { id: None, algorithm: Algorithm::HS256, decoding });
    }

    /// Adds a public key in PEM; its kind says the algorithm.
    pub fn add_pem(&mut self, pem: &str) -> Result<(), KeyError> {
        // It would be read as a key that fits no token; and it should not lie here at all.
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::Pem);
        }
        type Parse = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;
        let kinds: [(Algorithm, Parse); 3] = [
            (Algorithm::RS256, DecodingKey::from_rsa_pem),
            (Algorithm::ES256, DecodingKey::from_ec_pem),
            (Algorithm::EdDSA, DecodingKey::from_ed_pem),
        ];
        let (algorithm, decoding) = kinds
            .into_iter()
            .find_map(|(algorithm, parse)| Some((algorithm, parse(pem.as_bytes()).ok()?)))
            .ok_or(KeyError::Pem)?;
        self.keys.push(Key { id: None, algorithm, decoding });
        Ok(())
    }

    /// Adds the public keys of a JWKS document.
    pub fn add_jwks(&mut self, text: &str) -> Result<(), KeyError> {
        let set: JwkSet = serde_json::from_str(text).map_err(|error| KeyError::Jwks(error.to_string()))?;
        let before = self.keys.len();
        for jwk in &set.keys {
            let Some(algorithm) = algorithm_of(jwk) else { continue };
            if let Ok(decoding) = DecodingKey::from_jwk(jwk) {
                self.keys.push(Key { id: jwk.common.key_id.clone(), algorithm, decoding });
            }
        }
        if self.keys.len() == before { Err(KeyError::NoKey) } else { Ok(()) }
    }

    /// The bearer of an `Authorization` header's value.
    pub fn viewer_of_header(&self, header: &str) -> Result<Viewer, AuthError> {
        let (scheme, token) = header.trim().split_once(' ').ok_or(AuthError::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::NotBearer);
        }
        self.viewer(token.trim())
    }

    /// The bearer of a token.
    pub fn viewer(&self, token: &str) -> Result<Viewer, AuthError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Malformed)?;
        let fitting = |key: &&Key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        };
        let mut refusal = AuthError::WrongKey;
        for key in self.keys.iter().filter(fitting) {
            match self.decode(token, key) {
                Ok(claims) => return viewer(claims),
                // Of several keys one fits the signature; what it says about the claims counts.
                Err(AuthError::WrongKey) => {}
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn decode(&self, token: &str, key: &Key) -> Result<Claims, AuthError> {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let value = jsonwebtoken::decode::<serde_json::Value>(token, &key.decoding, &validation)
            .map_err(|error| match error.kind() {
                JwtErrorKind::ExpiredSignature => AuthError::Expired,
                JwtErrorKind::ImmatureSignature => AuthError::NotYetValid,
                JwtErrorKind::InvalidIssuer | JwtErrorKind::InvalidAudience => AuthError::WrongAudience,
                JwtErrorKind::MissingRequiredClaim(_) => AuthError::MissingClaim,
                JwtErrorKind::InvalidSignature | JwtErrorKind::InvalidAlgorithm => AuthError::WrongKey,
                _ => AuthError::Malformed,
            })?
            .claims;
        Ok(Claims {
            sub: text(&value, "sub")?,
            role: text(&value, "role")?,
            exp: value["exp"].as_f64().ok_or(AuthError::MissingClaim)? as i64,
            artists: match &value["artists"] {
                serde_json::Value::Null => Vec::new(),
                artists => serde_json::from_value(artists.clone()).map_err(|_| AuthError::Malformed)?,
            },
            source: value["source"].as_str().map(str::to_owned),
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            iat: 0,
        })
    }
}

/// The algorithm that a key names, or that its kind is for. A set may hold keys for other purposes.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let by_kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let named = match jwk.common.key_algorithm {
        None => by_kind,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    (named == by_kind).then_some(named)
}

fn text(claims: &serde_json::Value, name: &str) -> Result<String, AuthError> {
    claims[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or(AuthError::MissingClaim)
}

fn viewer(claims: Claims) -> Result<Viewer, AuthError> {
    let role = Role::from_word(&claims.role).ok_or(AuthError::UnknownRole)?;
    let artists: BTreeSet<String> = match role {
        Role::Artist if claims.artists.is_empty() => return Err(AuthError::NoArtists),
        Role::Artist => claims.artists.into_iter().collect(),
        _ => BTreeSet::new(),
    };
    Ok(Viewer {
        role,
        subject: Some(claims.sub),
        artists,
        source: claims.source.unwrap_or_else(|| DEFAULT_SOURCE.to_owned()),
        expires_at_s: claims.exp,
    })
}

/// Signs claims with a shared secret (HS256).
pub fn sign(claims: &Claims, secret: &str) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("claims of texts and numbers can always be signed")
}
