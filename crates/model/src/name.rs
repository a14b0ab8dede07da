//! Workspace names. A name is part of host names (`PORT--NAME.domain`), so it is a DNS label without `--`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest name: with `65535--` before it, it still is a DNS label of 63 bytes.
pub const MAX_NAME: usize = 40;

/// A valid name.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceName(String);

/// Why a text is no name; each says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most {MAX_NAME} characters")]
    TooLong,
    #[error("a name has only the characters a–z, 0–9 and -")]
    Character,
    #[error("a name starts and ends with a letter or a digit, and has no two - in a row")]
    Dash,
    #[error("this name is reserved, choose another")]
    Reserved,
}

/// Names of Roost's own origins and words that would read like them.
const RESERVED: [&str; 8] = [
    "api",
    "app",
    "code",
    "www",
    "webview",
    "localhost",
    "admin",
    "new",
];

impl WorkspaceName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if !text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        {
            return Err(NameError::Character);
        }
        if text.starts_with('-') || text.ends_with('-') || text.contains("--") {
            return Err(NameError::Dash);
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The closest valid name to any text, such as the last part of a repository's URL.
    pub fn suggest(text: &str) -> Self {
        let mut name = String::new();
        for character in text.chars().map(|character| character.to_ascii_lowercase()) {
            match character {
                'a'..='z' | '0'..='9' => name.push(character),
                _ if name.is_empty() || name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        name.truncate(MAX_NAME);
        let name = name.trim_end_matches('-');
        Self::parse(name).unwrap_or_else(|_| {
            Self(format!(
                "{name}{}workspace",
                if name.is_empty() { "" } else { "-" }
            ))
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for WorkspaceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<WorkspaceName> for String {
    fn from(name: WorkspaceName) -> Self {
        name.0
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_host_name_labels() {
        for good in ["a", "7", "my-repo", "x".repeat(40).as_str()] {
            assert_eq!(WorkspaceName::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", NameError::Empty),
            (&"x".repeat(41), NameError::TooLong),
            ("Upper", NameError::Character),
            ("ü", NameError::Character),
            ("a.b", NameError::Character),
            ("-a", NameError::Dash),
            ("a-", NameError::Dash),
            ("a--b", NameError::Dash),
            ("code", NameError::Reserved),
        ] {
            assert_eq!(WorkspaceName::parse(bad), Err(why), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_suggestion_is_a_valid_name(text in ".{0,80}") {
            let name = WorkspaceName::suggest(&text);
            prop_assert_eq!(WorkspaceName::parse(name.as_str()), Ok(name.clone()));
        }
    }
}
