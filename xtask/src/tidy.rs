//! House rules that no linter knows: paths that the documents name exist, and every source file says what
//! it is in its first line.

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
