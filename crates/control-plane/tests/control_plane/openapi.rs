//! `openapi/roost.json` is what the handlers' types say.

use std::path::Path;

#[test]
fn the_document_is_current() {
    let document = serde_json::to_value(control_plane::http::document()).unwrap();
    let fresh = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/roost.json");
    if std::env::var_os("ROOST_WRITE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &fresh).unwrap();
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        current == fresh,
        "openapi/roost.json is not current: ROOST_WRITE_OPENAPI=1 cargo test -p control-plane the_document"
    );
}

#[test]
fn every_operation_says_how_it_fails_and_who_may() {
    let document = serde_json::to_value(control_plane::http::document()).unwrap();
    let open = [
        ("/api/v1/server", "get"),
        ("/api/v1/session", "post"),
        ("/api/v1/welcome", "post"),
        ("/api/v1/welcome/check", "post"),
        ("/api/v1/tokens/by-password", "post"),
    ];
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if !operation.is_object() {
                continue;
            }
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert!(problem.is_object(), "{method} {path}: {operation}");
            let is_open = operation["security"].as_array().is_none_or(Vec::is_empty);
            assert_eq!(
                is_open,
                open.contains(&(path.as_str(), method.as_str())),
                "{method} {path}"
            );
        }
    }
}
