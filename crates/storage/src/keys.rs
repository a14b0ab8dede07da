//! Keys: a ring of master keys, and what a tenant derives from them.
//!
//! Every object has a key of its own, derived from a master key, the tenant and the object's random id, so
//! that counters are safe nonces. Identities of blocks are keyed by tenant too: that two tenants have the
//! same block cannot be seen, and is never used.

use std::collections::BTreeMap;
use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};
pub use crate::name::Tenant;

/// Bytes that sealing adds.
pub const TAG: usize = 16;

/// Sixteen random bytes that name an object.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(pub [u8; 16]);

impl fmt::Display for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for ObjectId {
    type Error = StorageError;

    fn try_from(text: String) -> Result<Self> {
        let mut id = [0; 16];
        hex::decode_to_slice(&text, &mut id)
            .map_err(|_| StorageError::Invalid(format!("{text:?} names no object")))?;
        Ok(Self(id))
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

/// Where ids and keys come from: an argument, so that a seeded run can be repeated.
pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);

    fn object_id(&self) -> ObjectId {
        let mut id = [0; 16];
        self.fill(&mut id);
        ObjectId(id)
    }
}

/// The operating system's randomness.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), bytes)
            .expect("Linux always has randomness once it has booted");
    }
}

/// All master keys of an installation. New objects are sealed with the newest; older ones stay for reading.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyRing {
    /// Key id → 32 bytes, as hexadecimal digits.
    keys: BTreeMap<u32, Secret>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Secret([u8; 32]);

impl TryFrom<String> for Secret {
    type Error = StorageError;

    fn try_from(text: String) -> Result<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(&text, &mut key)
            .map_err(|_| StorageError::Invalid("a key is not 64 hexadecimal digits".to_owned()))?;
        Ok(Self(key))
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        hex::encode(secret.0)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyRing({:?})", self.keys.keys())
    }
}

impl KeyRing {
    /// A ring with one new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut ring = Self {
            keys: BTreeMap::new(),
        };
        ring.rotate(entropy);
        ring
    }

    /// Adds a new key, with which new objects are sealed from now on.
    pub fn rotate(&mut self, entropy: &dyn Entropy) {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        let id = self.keys.last_key_value().map_or(1, |(id, _)| id + 1);
        self.keys.insert(id, Secret(key));
    }

    /// What `tenant` seals and opens with.
    pub fn tenant(&self, tenant: &Tenant) -> Result<TenantKeys> {
        let Some(current) = self.keys.last_key_value().map(|(id, _)| *id) else {
            return Err(StorageError::NoKey(0));
        };
        let derived = |(id, secret): (&u32, &Secret)| {
            let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"roost tenant 1");
            let tenant_key = expand(&salt.extract(&secret.0), &[tenant.as_str().as_bytes()]);
            (*id, Secret(tenant_key))
        };
        Ok(TenantKeys {
            tenant: tenant.clone(),
            current,
            keys: self.keys.iter().map(derived).collect(),
        })
    }
}

/// The keys of one tenant.
#[derive(Clone, Serialize, Deserialize)]
pub struct TenantKeys {
    tenant: Tenant,
    current: u32,
    keys: BTreeMap<u32, Secret>,
}

impl fmt::Debug for TenantKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TenantKeys({}, {:?})", self.tenant, self.keys.keys())
    }
}

impl TenantKeys {
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Id of the key that new objects are sealed with.
    pub fn current(&self) -> u32 {
        self.current
    }

    /// The key of one object.
    pub fn object(&self, key: u32, id: &ObjectId) -> Result<ObjectKey> {
        let Secret(tenant_key) = self.keys.get(&key).ok_or(StorageError::NoKey(key))?;
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &id.0);
        let bytes = expand(&salt.extract(tenant_key), &[b"roost object 1"]);
        let unbound = UnboundKey::new(&AES_256_GCM, &bytes).expect("the key has 32 bytes");
        Ok(ObjectKey(LessSafeKey::new(unbound)))
    }

    /// Tells blocks of this tenant apart, under the current key.
    pub fn identities(&self) -> Identities {
        let Secret(tenant_key) = &self.keys[&self.current];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"roost identities 1");
        Identities(expand(&salt.extract(tenant_key), &[b"blake3"]))
    }
}

fn expand(prk: &hkdf::Prk, info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    prk.expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("one block of output is always allowed");
    key
}

/// First 16 bytes of the keyed BLAKE3 of a block's content.
pub type Identity = [u8; 16];

/// Computes identities of one tenant's blocks.
#[derive(Clone)]
pub struct Identities([u8; 32]);

impl Identities {
    pub fn of(&self, block: &[u8]) -> Identity {
        let whole = blake3::keyed_hash(&self.0, block);
        *whole.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }
}

/// Seals and opens the parts of one object. A part is known by its number, which is never used twice.
#[derive(Debug)]
pub struct ObjectKey(LessSafeKey);

impl ObjectKey {
    fn nonce(part: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&part.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `bytes` from `start` in place and appends the tag.
    pub fn seal(&self, part: u64, about: &[u8], bytes: &mut Vec<u8>, start: usize) {
        let tag = self
            .0
            .seal_in_place_separate_tag(Self::nonce(part), Aad::from(about), &mut bytes[start..])
            .expect("a part is far smaller than what AES-GCM can seal");
        bytes.extend_from_slice(tag.as_ref());
    }

    /// Decrypts a sealed part in place; `None` when it is not what was sealed.
    pub fn open<'a>(&self, part: u64, about: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.0
            .open_in_place(Self::nonce(part), Aad::from(about), sealed)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tenant: &str) -> TenantKeys {
        let ring = KeyRing {
            keys: BTreeMap::from([(1, Secret([7; 32]))]),
        };
        ring.tenant(&Tenant::new(tenant).unwrap()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_and_anything_else_does_not() {
        let id = ObjectId([3; 16]);
        let key = keys("a").object(1, &id).unwrap();
        let mut sealed = b"....secret".to_vec();
        key.seal(5, b"about", &mut sealed, 4);
        let opened = |key: &ObjectKey, part, about: &[u8], flip: Option<usize>| {
            let mut bytes = sealed[4..].to_vec();
            if let Some(at) = flip {
                bytes[at] ^= 1;
            }
            key.open(part, about, &mut bytes).map(|text| text.to_vec())
        };
        assert_eq!(opened(&key, 5, b"about", None).unwrap(), b"secret");
        assert_eq!(opened(&key, 6, b"about", None), None);
        assert_eq!(opened(&key, 5, b"other", None), None);
        for at in 0..sealed.len() - 4 {
            assert_eq!(opened(&key, 5, b"about", Some(at)), None);
        }
        let other = keys("b").object(1, &id).unwrap();
        assert_eq!(opened(&other, 5, b"about", None), None);
    }

    #[test]
    fn tenants_see_different_identities() {
        let block = [1; 4096];
        let of = |tenant| keys(tenant).identities().of(&block);
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }

    #[test]
    fn a_rotated_ring_still_reads_what_was_sealed_before() {
        let mut ring = KeyRing::generate(&SystemEntropy);
        let tenant = Tenant::new("a").unwrap();
        let id = ObjectId([1; 16]);
        let mut sealed = b"old".to_vec();
        let before = ring.tenant(&tenant).unwrap();
        before.object(1, &id).unwrap().seal(0, b"", &mut sealed, 0);
        ring.rotate(&SystemEntropy);
        let text = serde_json::to_string(&ring).unwrap();
        let after: KeyRing = serde_json::from_str(&text).unwrap();
        let after = after.tenant(&tenant).unwrap();
        assert_eq!(after.current(), 2);
        let opened = after.object(1, &id).unwrap();
        assert_eq!(opened.open(0, b"", &mut sealed).unwrap(), b"old");
        assert!(matches!(after.object(9, &id), Err(StorageError::NoKey(9))));
    }

    #[test]
    fn names_become_paths_and_are_checked() {
        for bad in ["", "A", "a/b", "..", "a b", &"x".repeat(65)] {
            assert!(Tenant::new(bad).is_err(), "{bad:?}");
        }
    }
}
