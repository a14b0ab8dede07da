//! A proxy and an authority of the host's surroundings hold inside guests, too.

use std::process::Command;

use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::{session, shell};
use roost_tests::{Options, Server};

#[tokio::test]
async fn a_guest_has_the_hosts_proxy_and_trusts_the_hosts_extra_authority() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("authority.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=An authority of our own",
            "-days",
            "2",
            "-keyout",
        ])
        .arg(folder.path().join("key.pem"))
        .arg("-out")
        .arg(&authority)
        .output()?;
    assert!(made.status.success(), "{made:?}");
    let server = Server::start(Options {
        environment: vec![
            ("HTTPS_PROXY", "http://proxy.example:3128".into()),
            ("NO_PROXY", ".internal".into()),
            ("SSL_CERT_FILE", authority.clone()),
        ],
        ..Options::default()
    })
    .await?;
    let api = server.api();
    server.running(&empty("inside")).await?;
    let guest = session(api, "inside", StreamClass::Interactive).await?;
    let said = shell(&guest, "echo $https_proxy $HTTPS_PROXY $no_proxy").await?;
    assert_eq!(
        String::from_utf8_lossy(&said.stdout).trim(),
        "http://proxy.example:3128/ http://proxy.example:3128/ .internal,localhost,127.0.0.1"
    );

    let path = format!("{}/authority.pem", guest.welcome().workspace);
    guest.put_file(&path, &std::fs::read(&authority)?).await?;
    let verify = shell(&guest, "openssl verify authority.pem").await?;
    assert!(verify.success(), "{verify:?}");
    // It was the host's doing: by itself the guest trusts no such thing.
    let alone = shell(
        &guest,
        "SSL_CERT_FILE=/dev/null openssl verify authority.pem",
    )
    .await?;
    assert!(!alone.success(), "{alone:?}");
    server.close().await
}
