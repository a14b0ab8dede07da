//! TLS with the local authority and with the operator's certificate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use axum::Router;
use fleet_api::ticket::TicketKey;
use gateway::tls::Acceptor;
use gateway::tls::authority::{Authority, certificate_path};
use gateway::{Config, Gateway};
use tokio_util::sync::CancellationToken;

mod world;

/// Serves with this, and gives the port.
async fn serve(acceptor: Acceptor) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let directory = Arc::new(world::FakeDirectory::default());
    let gateway = Gateway::new(Config::default(), directory, TicketKey::new(&[1; 32]));
    let control = Router::new().fallback(|request: axum::extract::Request| async move {
        format!(
            "{:?} {:?}",
            request.version(),
            request.headers()["x-forwarded-proto"]
        )
    });
    tokio::spawn(gateway.serve(control, listener, Some(acceptor), CancellationToken::new()));
    port
}

fn client(authority: &[u8]) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let here = ([127, 0, 0, 1], 0).into();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(authority).unwrap()])
        .resolve("localhost", here)
        .resolve("code.localhost", here)
        .resolve("3000--demo.localhost", here)
        .resolve("other.example", here)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_local_authority_signs_for_every_origin_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), "localhost").unwrap();
    let certificate = std::fs::read(certificate_path(folder.path())).unwrap();
    let client = client(&certificate);
    let port = serve(Acceptor::from_resolver(Arc::new(authority)).unwrap()).await;

    let answer = client
        .get(format!("https://localhost:{port}/api/v1/x"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "HTTP/2.0 \"https\"");
    let editor = client
        .get(format!("https://code.localhost:{port}/w/x/status"))
        .send()
        .await
        .unwrap();
    assert_eq!(editor.status(), 404);
    let preview = format!("https://3000--demo.localhost:{port}/");
    assert_eq!(client.get(preview).send().await.unwrap().status(), 404);
    let address = client
        .get(format!("https://127.0.0.1:{port}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        address.headers()["location"],
        format!("https://localhost:{port}/").as_str()
    );
    assert!(
        client
            .get(format!("https://other.example:{port}/"))
            .send()
            .await
            .is_err()
    );

    // The same authority after a restart: what trusts it goes on trusting.
    let again = Authority::open(folder.path(), "localhost").unwrap();
    assert_eq!(
        std::fs::read(certificate_path(folder.path())).unwrap(),
        certificate
    );
    let port = serve(Acceptor::from_resolver(Arc::new(again)).unwrap()).await;
    let answer = client
        .get(format!("https://localhost:{port}/api/v1/x"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_operators_certificate_is_used_and_a_wrong_one_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(
        path("other.pem"),
        rcgen::KeyPair::generate().unwrap().serialize_pem(),
    )
    .unwrap();
    std::fs::write(path("empty.pem"), "").unwrap();

    let acceptor = Acceptor::from_files(&path("cert.pem"), &path("key.pem")).unwrap();
    let port = serve(acceptor).await;
    let client = client(made.cert.pem().as_bytes());
    let answer = client
        .get(format!("https://localhost:{port}/api/v1/x"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);

    for (certificate, key, named) in [
        ("missing.pem", "key.pem", "missing.pem"),
        ("empty.pem", "key.pem", "empty.pem"),
        ("cert.pem", "empty.pem", "empty.pem"),
        ("cert.pem", "other.pem", "other.pem"),
    ] {
        let Err(error) = Acceptor::from_files(&path(certificate), &path(key)) else {
            panic!("{certificate} and {key} were taken")
        };
        assert!(error.to_string().contains(named), "{error}");
    }
}
