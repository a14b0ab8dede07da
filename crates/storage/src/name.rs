//! What tenants and disks are called: it becomes part of a path.

use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};

macro_rules! name {
    ($(#[$attribute:meta])* $name:ident, $of:literal) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Lower-case letters, digits, `-`; at most 64.
            pub fn new(name: impl Into<String>) -> Result<Self> {
                let name = name.into();
                if is_name(&name) {
                    Ok(Self(name))
                } else {
                    Err(StorageError::Invalid(format!(
                        concat!("{:?} names no ", $of),
                        name
                    )))
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(out)
            }
        }

        impl TryFrom<String> for $name {
            type Error = StorageError;

            fn try_from(name: String) -> Result<Self> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// Whose data it is: a prefix in the store, and the border that sharing never crosses.
    Tenant,
    "tenant"
);
name!(
    /// Name of a disk within its tenant.
    DiskName,
    "disk"
);

fn is_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fine)
}
