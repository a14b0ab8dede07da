//! Secrets: tokens that are kept only as a hash, passwords, and what is sealed at rest.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};

use crate::world::World;

/// Length of the key that seals, in bytes.
pub const KEY_LENGTH: usize = 32;

/// What every API token starts with, so that scanners find one that was published.
pub const TOKEN_PREFIX: &str = "roost_";

/// A new secret of 256 bits that is safe in a URL, a header and a cookie.
pub fn new_token(world: &World) -> String {
    URL_SAFE_NO_PAD.encode(world.random::<32>())
}

/// What is kept of a token. It has too many bits to be guessed, so a plain hash is enough.
pub fn hash_token(token: &str) -> String {
    hex::encode(digest(&SHA256, token.as_bytes()))
}

/// Why something sealed does not open.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("a sealing key has {KEY_LENGTH} bytes, not {0}")]
    KeyLength(usize),
    #[error("it was sealed with another key, or changed since")]
    Broken,
}

/// Seals with AES-256-GCM.
pub struct Sealer(LessSafeKey);

impl Sealer {
    pub fn new(key: &[u8]) -> Result<Self, SealError> {
        let key =
            UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::KeyLength(key.len()))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Nonce, then ciphertext. `context` must be the same when it is opened: what is sealed cannot be moved
    /// to another row.
    pub fn seal(&self, world: &World, context: &str, plain: &str) -> Vec<u8> {
        let nonce = world.random::<NONCE_LEN>();
        let mut sealed = plain.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut sealed,
            )
            .expect("a secret is shorter than the 64 GiB that the cipher allows");
        [nonce.as_slice(), &sealed].concat()
    }

    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<String, SealError> {
        let (nonce, ciphertext) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Broken)?;
        let mut text = ciphertext.to_vec();
        let plain = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(context.as_bytes()),
                &mut text,
            )
            .map_err(|_| SealError::Broken)?;
        String::from_utf8(plain.to_vec()).map_err(|_| SealError::Broken)
    }
}

/// OWASP's first choice for argon2id: 19 MiB, two passes.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// Takes tens of milliseconds: not for the threads that serve.
pub fn hash_password(world: &World, password: &str) -> String {
    argon2()
        .hash_password_with_salt(password.as_bytes(), &world.random::<16>())
        .expect("a password of bounded length and a salt of 16 bytes are valid")
        .to_string()
}

/// As slow as [`hash_password`], with or without a hash, so that nobody learns who has an account.
pub fn verify_password(password: &str, hash: Option<&str>) -> bool {
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let Ok(parsed) = PasswordHash::new(hash.unwrap_or(NOBODY)) else {
        return false;
    };
    argon2()
        .verify_password(password.as_bytes(), &parsed)
        .is_ok()
        && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_context_only() {
        let world = World::real();
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let sealed = sealer.seal(&world, "row 1", "hunter2");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(sealer.open("row 1", &sealed).unwrap(), "hunter2");
        assert!(sealer.open("row 2", &sealed).is_err());
        assert!(
            Sealer::new(&[2; 32])
                .unwrap()
                .open("row 1", &sealed)
                .is_err()
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open("row 1", &changed).is_err(), "byte {at} changed");
        }
        assert!(sealer.open("row 1", &sealed[..5]).is_err());
        assert!(matches!(
            Sealer::new(&[1; 31]),
            Err(SealError::KeyLength(31))
        ));
    }

    #[test]
    fn passwords_are_kept_as_argon2id() {
        let hash = hash_password(&World::real(), "correct horse");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(verify_password("correct horse", Some(&hash)));
        assert!(!verify_password("correct horsf", Some(&hash)));
        assert!(!verify_password("correct horse", None));
        let started = std::time::Instant::now();
        verify_password("x", None);
        assert!(
            started.elapsed().as_millis() > 1,
            "nobody's password is verified as well"
        );
    }
}
