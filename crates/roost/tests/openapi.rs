//! `openapi/roost.json` is what the types of the handlers say, of the control plane's and of the gateway's.

#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.

use std::path::Path;

use serde_json::Value;

fn document() -> Value {
    let mut document = aide::openapi::OpenApi::default();
    gateway::describe(&mut document);
    control_plane::http::describe(&mut document);
    serde_json::to_value(document).unwrap()
}

#[test]
fn the_document_is_current() {
    let fresh = format!("{}\n", serde_json::to_string_pretty(&document()).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/roost.json");
    if std::env::var_os("ROOST_WRITE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &fresh).unwrap();
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        current == fresh,
        "openapi/roost.json is not current: ROOST_WRITE_OPENAPI=1 cargo test -p roost the_document, then \
         `npm run generate` in web/"
    );
}

#[test]
fn every_operation_says_how_it_fails_and_who_may() {
    let open = [
        ("/api/v1/server", "get"),
        ("/api/v1/session", "post"),
        ("/api/v1/welcome", "post"),
        ("/api/v1/welcome/check", "post"),
        ("/api/v1/tokens/by-password", "post"),
    ];
    for (path, operations) in document()["paths"].as_object().unwrap() {
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

#[test]
fn commands_and_files_are_in_it() {
    let document = document();
    for (path, methods) in [
        ("exec", &["post"][..]),
        ("exec/{exec}", &["get"]),
        ("exec/{exec}/signal", &["post"]),
        ("files", &["get", "put", "delete"]),
        ("files/list", &["get"]),
        ("archive", &["get", "put"]),
    ] {
        let operations = &document["paths"][format!("/api/v1/workspaces/{{workspace}}/{path}")];
        for method in methods {
            assert!(operations[method].is_object(), "{method} {path}");
        }
    }
}
