//! House rules that no linter knows: paths and tests that the documents name exist, and every source file says
//! what it is in its first line.

mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use crate::generate::root;

    fn tracked() -> Vec<PathBuf> {
        let output = Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success());
        let list = String::from_utf8(output.stdout).unwrap();
        list.split('\0')
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .filter(|path| root().join(path).exists())
            .collect()
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(root().join(path)).unwrap()
    }

    #[test]
    fn paths_named_in_documents_exist() {
        let mut missing = Vec::new();
        for document in tracked()
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "md"))
        {
            if document.ends_with("CHANGELOG.md") {
                continue;
            }
            for quoted in read(document).split('`').skip(1).step_by(2) {
                let is_path = [
                    "crates/", "web/", "docs/", "images/", "tests/", "xtask/", "openapi/",
                ]
                .iter()
                .any(|start| quoted.starts_with(start));
                let plain = quoted
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                let folder = document.parent().unwrap();
                if is_path
                    && plain
                    && !root().join(quoted).exists()
                    && !root().join(folder).join(quoted).exists()
                {
                    missing.push(format!("{}: {quoted}", document.display()));
                }
            }
        }
        assert!(
            missing.is_empty(),
            "documents name paths that do not exist: {missing:#?}"
        );
    }

    /// Documents whose tables make promises: each row names the tests that hold it to them.
    const PROMISES: [&str; 3] = ["SECURITY.md", "docs/bad-input.md", "docs/durability.md"];

    /// What is wrong with a test that a document names as `path::name`.
    fn no_such_test(named: &str) -> Option<String> {
        let (path, name) = named.split_once("::")?;
        let Ok(text) = std::fs::read_to_string(root().join(path)) else {
            return Some(format!("there is no file {path}"));
        };
        let is_there = if path.ends_with(".rs") {
            // An attribute, perhaps some more, and then the function.
            text.match_indices(&format!("fn {name}(")).any(|(at, _)| {
                let before = text[..at].trim_end().trim_end_matches("async").trim_end();
                let attributes = before.rsplit("\n\n").next().unwrap_or_default();
                attributes.contains("#[test]") || attributes.contains("#[tokio::test")
            })
        } else {
            ["'", "\"", "`"]
                .iter()
                .any(|quote| text.contains(&format!("{quote}{name}{quote}")))
        };
        (!is_there).then(|| format!("{path} has no test {name:?}"))
    }

    #[test]
    fn every_promise_names_a_test_that_exists() {
        let mut wrong = Vec::new();
        for document in PROMISES {
            let text = read(Path::new(document));
            let is_ruler = |line: &str| line.starts_with("|-") || line.starts_with("| -");
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let head = lines.get(at + 1).is_some_and(|next| is_ruler(next));
                let tests: Vec<&str> = line
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .filter(|quoted| quoted.contains(".rs::") || quoted.contains(".ts::"))
                    .collect();
                if line.starts_with('|') && !is_ruler(line) && !head && tests.is_empty() {
                    wrong.push(format!("{document}: no test is named in {line:?}"));
                }
                let missing = tests.iter().filter_map(|named| no_such_test(named));
                wrong.extend(missing.map(|what| format!("{document}: {what}")));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn every_source_file_opens_with_a_line_about_itself() {
        let silent: Vec<_> = tracked()
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "rs"))
            .filter(|path| !path.ends_with("generated.rs"))
            .filter(|path| !read(path).starts_with("//!"))
            .collect();
        assert!(silent.is_empty(), "no header line: {silent:#?}");
    }

    #[test]
    fn nothing_is_left_to_do_in_a_comment() {
        let marker = ["TO", "DO"].concat();
        let left: Vec<_> = tracked()
            .into_iter()
            .filter(|path| {
                path.extension()
                    .is_some_and(|end| end == "rs" || end == "ts" || end == "svelte")
            })
            .filter(|path| read(path).contains(&marker))
            .collect();
        assert!(left.is_empty(), "{marker} in {left:#?}");
    }
}
