//! QEMU's monitor protocol: JSON lines, one answer for each command, and events in between.

use std::collections::VecDeque;
use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::driver::VmError;

/// Longest line that is taken, bytes: what we ask for is answered in far less.
const MAX_LINE: usize = 256 * 1024;

/// Asks QEMU. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Qmp {
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct Command {
    name: &'static str,
    arguments: Value,
    answer: oneshot::Sender<Result<Value, VmError>>,
}

/// Something that QEMU reports by itself.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

impl Qmp {
    /// Takes the connection over. Events arrive after QEMU's greeting was answered; the first is an own
    /// one, `READY`, and the channel closes with the connection.
    pub fn new(connection: UnixStream) -> (Self, mpsc::Receiver<Event>) {
        let (commands, asked) = mpsc::channel(8);
        let (events, reported) = mpsc::channel(8);
        tokio::spawn(async move {
            if let Err(error) = converse(connection, asked, events).await {
                tracing::debug!(%error, "QMP connection ended");
            }
        });
        (Self { commands }, reported)
    }

    /// Runs a command and returns its answer.
    pub async fn run(&self, name: &'static str, arguments: Value) -> Result<Value, VmError> {
        let (answer, answered) = oneshot::channel();
        let command = Command {
            name,
            arguments,
            answer,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_| VmError::Ended)?;
        answered.await.map_err(|_| VmError::Ended)?
    }
}

async fn converse(
    connection: UnixStream,
    mut asked: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
) -> io::Result<()> {
    let (reader, mut writer) = connection.into_split();
    let mut reader = BufReader::with_capacity(4096, reader);
    let mut line = Vec::new();

    let greeting = read_line(&mut reader, &mut line).await?;
    if greeting.get("QMP").is_none() {
        return Err(invalid("no greeting"));
    }
    send(&mut writer, "qmp_capabilities", &Value::Null).await?;

    // QEMU answers in the order it was asked in. The first answer is to the greeting.
    let mut waiting: VecDeque<Option<Command>> = VecDeque::from([None]);
    line.clear();
    loop {
        tokio::select! {
            command = asked.recv() => {
                let Some(command) = command else { return Ok(()) };
                send(&mut writer, command.name, &command.arguments).await?;
                waiting.push_back(Some(command));
            }
            // Keeps what it has read when it is not the first: `line` is ours.
            message = read_line(&mut reader, &mut line) => {
                let mut message = message?;
                line.clear();
                if let Some(name) = message.get("event").and_then(Value::as_str) {
                    let event = Event { name: name.to_owned(), data: message["data"].take() };
                    let _ = events.send(event).await;
                    continue;
                }
                match waiting.pop_front() {
                    Some(Some(command)) => command.finish(message),
                    Some(None) => {
                        let _ = events.send(Event { name: "READY".to_owned(), data: Value::Null }).await;
                    }
                    None => return Err(invalid("an answer that nobody waits for")),
                }
            }
        }
    }
}

impl Command {
    fn finish(self, mut message: Value) {
        let outcome = match message.get("error") {
            Some(error) => Err(VmError::Refused {
                command: self.name,
                message: error["desc"]
                    .as_str()
                    .unwrap_or("without a reason")
                    .to_owned(),
            }),
            None => Ok(message["return"].take()),
        };
        let _ = self.answer.send(outcome);
    }
}

async fn send(
    writer: &mut (impl AsyncWriteExt + Unpin),
    name: &str,
    arguments: &Value,
) -> io::Result<()> {
    let command = match arguments {
        Value::Null => json!({ "execute": name }),
        arguments => json!({ "execute": name, "arguments": arguments }),
    };
    writer.write_all(format!("{command}\n").as_bytes()).await
}

/// Reads up to the end of a line, on top of what `line` has already.
async fn read_line(
    reader: &mut BufReader<tokio::net::unix::OwnedReadHalf>,
    line: &mut Vec<u8>,
) -> io::Result<Value> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(&available[..taken]);
        reader.consume(taken);
        if end.is_some() {
            return serde_json::from_slice(line).map_err(io::Error::from);
        }
        if line.len() > MAX_LINE {
            return Err(invalid("an endless line"));
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
