//! What a guest can reach: nothing of the host, of other guests, or of private networks.

use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::{session, shell};
use roost_tests::{Options, Server};
use tokio::net::TcpListener;

/// Every address of this host that a guest could try.
fn host_addresses() -> Vec<String> {
    let output = std::process::Command::new("ip")
        .args(["-brief", "-4", "address"])
        .output();
    let text = String::from_utf8(output.expect("ip runs").stdout).expect("ip prints UTF-8");
    text.lines()
        .flat_map(|line| line.split_whitespace().skip(2))
        .filter_map(|address| address.split('/').next())
        .map(String::from)
        .collect()
}

#[tokio::test]
async fn a_guest_reaches_neither_the_host_nor_another_guest_nor_the_metadata_service()
-> anyhow::Result<()> {
    reaches_nothing(Options::default()).await
}

/// As an ordinary user's server has it, which cannot make networks.
#[tokio::test]
async fn a_guest_without_a_network_reaches_as_little() -> anyhow::Result<()> {
    reaches_nothing(Options {
        config: "[network]\nmode = \"off\"\n".into(),
        ..Options::default()
    })
    .await
}

async fn reaches_nothing(options: Options) -> anyhow::Result<()> {
    let server = Server::start(options).await?;
    for name in ["one", "two"] {
        server.running(&empty(name)).await?;
    }
    // Something that answers on every address of the host.
    let listener = TcpListener::bind(("0.0.0.0", 0)).await?;
    let port = listener.local_addr()?.port();
    let (one, two) = (
        session(server.api(), "one", StreamClass::Interactive).await?,
        session(server.api(), "two", StreamClass::Interactive).await?,
    );
    shell(
        &two,
        "nohup python3 -m http.server 8000 >/dev/null 2>&1 & sleep 0",
    )
    .await?;
    // The probe itself works: the guest reaches its own loopback.
    let own = shell(&one, "python3 -m http.server 8001 >/dev/null 2>&1 & for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/8001) 2>/dev/null && echo open && break; sleep 0.1; done").await?;
    assert_eq!(String::from_utf8_lossy(&own.stdout).trim(), "open");

    let mut targets: Vec<_> = host_addresses()
        .into_iter()
        .map(|address| (address, port))
        .collect();
    assert!(!targets.is_empty());
    targets.extend([
        ("169.254.169.254".into(), 80),
        ("10.0.2.2".into(), port),
        ("10.0.2.3".into(), 53),
        ("172.31.255.1".into(), port),
        ("192.168.0.1".into(), 80),
    ]);
    for (address, port) in targets {
        if address == "127.0.0.1" {
            continue;
        }
        let line = format!(
            "timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo shut"
        );
        let output = shell(&one, &line).await?;
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "shut",
            "{address}:{port}"
        );
    }
    let accepted =
        tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
    assert!(accepted.is_err(), "a guest reached the host");
    server.close().await
}
