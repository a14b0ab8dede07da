//! The machine's Git configuration: whose commits, and that every remote goes through the relay.
//!
//! The host finds the remote's real address in the path: `/https/HOST/PATH`, `/http/HOST/PATH`,
//! `/ssh/git@HOST:PATH`, `/sshurl/USER@HOST/PATH`.

use std::fmt::Write;

/// Who commits, unless the user's own configuration says otherwise.
pub struct Identity<'a> {
    pub name: &'a str,
    pub email: &'a str,
}

/// Content of the system's configuration.
pub fn text(identity: &Identity<'_>, relay_port: Option<u16>) -> String {
    let mut text = String::from(
        "# Written by the workspace at each start; your own ~/.gitconfig goes before it.\n",
    );
    // Writing to a String does not fail.
    if !identity.name.is_empty() || !identity.email.is_empty() {
        text.push_str("[user]\n");
        for (key, value) in [("name", identity.name), ("email", identity.email)] {
            if !value.is_empty() {
                let _ = writeln!(text, "\t{key} = {}", quoted(value));
            }
        }
    }
    text.push_str(
        "[protocol]\n\tversion = 2\n[safe]\n\tdirectory = *\n[init]\n\tdefaultBranch = main\n",
    );
    // Helpers of the distribution are forgotten: credentials are the host's.
    text.push_str("[credential]\n\thelper =\n");
    let Some(port) = relay_port else { return text };
    let relay = format!("http://127.0.0.1:{port}");
    for (path, original) in [
        ("https/", "https://"),
        ("http/", "http://"),
        ("ssh/git@", "git@"),
        ("sshurl/", "ssh://"),
    ] {
        let _ = writeln!(text, "[url \"{relay}/{path}\"]\n\tinsteadOf = {original}");
    }
    // The longest match wins: what names this machine is left as it is.
    for local in [
        format!("{relay}/"),
        "http://127.0.0.1".into(),
        "http://localhost".into(),
        "https://127.0.0.1".into(),
        "https://localhost".into(),
    ] {
        let _ = writeln!(text, "[url \"{local}\"]\n\tinsteadOf = {local}");
    }
    text
}

/// A value in Git's own quoting. Line breaks would start another entry, so they become spaces.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => quoted.push(' '),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn git(config: &str, arguments: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gitconfig");
        std::fs::write(&file, config).unwrap();
        let output = Command::new("git")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", folder.path())
            .env("GIT_CONFIG_SYSTEM", &file)
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    #[test]
    fn every_kind_of_remote_goes_through_the_relay_and_local_ones_do_not() {
        let config = text(
            &Identity {
                name: "",
                email: "",
            },
            Some(9418),
        );
        let rewritten = |url: &str| git(&config, &["ls-remote", "--get-url", url]);
        for (url, to) in [
            (
                "https://example.org/a/b.git",
                "http://127.0.0.1:9418/https/example.org/a/b.git",
            ),
            (
                "http://example.org:8080/b",
                "http://127.0.0.1:9418/http/example.org:8080/b",
            ),
            (
                "git@example.org:a/b.git",
                "http://127.0.0.1:9418/ssh/git@example.org:a/b.git",
            ),
            (
                "ssh://me@example.org:22/b",
                "http://127.0.0.1:9418/sshurl/me@example.org:22/b",
            ),
        ] {
            assert_eq!(rewritten(url), to);
            assert_eq!(rewritten(to), to, "rewritten once only");
        }
        for local in [
            "http://localhost:3000/x.git",
            "http://127.0.0.1:3000/x.git",
            "/srv/x.git",
        ] {
            assert_eq!(rewritten(local), local);
        }
    }

    #[test]
    fn names_come_through_whatever_is_in_them() {
        let name = "Zoë \"the\\ # ; author\nemail = x";
        let config = text(
            &Identity {
                name,
                email: "zoe@example.org",
            },
            None,
        );
        assert_eq!(
            git(&config, &["config", "user.name"]),
            "Zoë \"the\\ # ; author email = x"
        );
        assert_eq!(git(&config, &["config", "user.email"]), "zoe@example.org");
    }
}
