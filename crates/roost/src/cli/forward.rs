//! `roost port-forward`: a port of a workspace on this machine's loopback.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::api::path_segment;
use super::{Api, Output, guest};
use crate::print;

#[derive(Debug, Args)]
pub struct PortForward {
    pub workspace: String,
    /// `REMOTE`, or `LOCAL:REMOTE`; local 0 takes a free one
    #[arg(value_parser = ports)]
    ports: (Option<u16>, u16),
}

fn ports(text: &str) -> Result<(Option<u16>, u16), String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("{text:?} is no port"))
    };
    match text.split_once(':') {
        Some((local, remote)) => Ok((Some(port(local)?), port(remote)?)),
        None => Ok((None, port(text)?)),
    }
}

impl PortForward {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let (local, remote) = self.ports;
        // Says early that the workspace does not run or is not there.
        let workspace = api.workspace(&self.workspace).await?;
        let listener = match local {
            Some(port) => TcpListener::bind(("127.0.0.1", port))
                .await
                .with_context(|| {
                    format!(
                        "port {port} cannot be listened on here: choose another with LOCAL:{remote}"
                    )
                })?,
            // The same number where it is free.
            None => match TcpListener::bind(("127.0.0.1", remote)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
            },
        };
        let address = listener.local_addr()?;
        output.print(
            &serde_json::json!({ "local": address, "remote": remote }),
            |_| {
                format!(
                    "{address} is port {remote} of {}. Ctrl-C ends it.",
                    workspace.name
                )
            },
        )?;
        loop {
            let (connection, peer) = listener.accept().await?;
            let api = api.clone();
            let path = format!("/tunnel/{}/{remote}", path_segment(&self.workspace));
            let what = format!("port {remote} of {}", workspace.name);
            tokio::spawn(async move {
                let tunnel = match guest::socket(&api, &path).await {
                    Ok(tunnel) => tunnel,
                    Err(error) => return refused(output, peer, remote, &what, &error),
                };
                if let Err(error) = carry(tunnel, connection).await {
                    output.say(&format!(
                        "The connection from {peer} to {what} broke: {error:#}"
                    ));
                }
            });
        }
    }
}

/// Says why a program here finds its connection closed at once.
fn refused(output: Output, peer: SocketAddr, remote: u16, what: &str, error: &anyhow::Error) {
    if output.json {
        let refusal = format!("{error:#}");
        let told = serde_json::json!({ "from": peer, "remote": remote, "refused": refusal });
        // That nobody reads it is no reason to end the other connections.
        let _ = print::line(told);
    } else {
        output.say(&format!(
            "A connection from {peer} to {what} was refused: {error:#}"
        ));
    }
}

/// Carries one connection over a WebSocket until either side ends.
async fn carry(tunnel: guest::Socket, connection: TcpStream) -> anyhow::Result<()> {
    let (mut to_guest, mut from_guest) = tunnel.split();
    let (mut reader, mut writer) = connection.into_split();
    let outward = async {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                // An empty message is the end of this direction.
                to_guest.send(Message::Binary(Vec::new().into())).await?;
                return anyhow::Ok(());
            }
            to_guest
                .send(Message::Binary(buffer[..read].to_vec().into()))
                .await?;
        }
    };
    let inward = async {
        while let Some(message) = from_guest.next().await {
            match message? {
                // An empty message is the end of this direction.
                Message::Binary(bytes) if bytes.is_empty() => break,
                Message::Binary(bytes) => writer.write_all(&bytes).await?,
                Message::Close(Some(close)) if !close.reason.is_empty() => {
                    anyhow::bail!("{}", close.reason)
                }
                _ => {}
            }
        }
        writer.shutdown().await?;
        anyhow::Ok(())
    };
    tokio::pin!(outward, inward);
    tokio::select! {
        result = &mut inward => result,
        result = &mut outward => { result?; inward.await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_two_numbers() {
        assert_eq!(ports("8000"), Ok((None, 8000)));
        assert_eq!(ports("0:8000"), Ok((Some(0), 8000)));
        assert!(ports("http").is_err());
        assert!(ports("70000").is_err());
    }
}
