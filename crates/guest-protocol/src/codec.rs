//! Length-delimited protobuf messages on a byte stream: u32 big-endian length, then the message.

use std::io;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Largest encoded message, bytes. A longer one is an error of the sender and ends the stream.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// A stream of encoded messages over `io`, for sessions.
pub fn framed<T: AsyncRead + AsyncWrite>(io: T) -> Framed<T, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder()
        .max_frame_length(MAX_MESSAGE)
        .new_framed(io)
}

/// Reads one message and not a byte beyond it, since raw bytes may follow. `None` at a clean end.
pub async fn read_message<M: Message + Default>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length[..1]).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    reader.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("message of {length} bytes, at most {MAX_MESSAGE} are allowed"),
        ));
    }
    let mut body = BytesMut::zeroed(length);
    reader.read_exact(&mut body).await?;
    decode(&body).map(Some)
}

/// Writes one message and flushes.
pub async fn write_message(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> io::Result<()> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(4 + length);
    frame.extend_from_slice(&(length as u32).to_be_bytes());
    message
        .encode(&mut frame)
        .expect("BytesMut grows as needed");
    writer.write_all(&frame).await?;
    writer.flush().await
}

/// Encodes a message for [`framed`].
pub fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Decodes a message that [`framed`] or [`read_message`] has delimited.
pub fn decode<M: Message + Default>(bytes: &[u8]) -> io::Result<M> {
    M::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Hello;

    #[tokio::test]
    async fn messages_round_trip_and_nothing_beyond_is_read() {
        let (mut left, mut right) = tokio::io::duplex(64);
        let sent = Hello {
            generation: 1,
            client: "test".into(),
        };
        write_message(&mut left, &sent).await.unwrap();
        left.write_all(b"raw").await.unwrap();
        drop(left);
        assert_eq!(read_message::<Hello>(&mut right).await.unwrap(), Some(sent));
        let mut rest = Vec::new();
        right.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"raw");
    }

    #[tokio::test]
    async fn an_oversized_length_is_refused_before_anything_is_allocated() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1, 2];
        let error = read_message::<Hello>(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_clean_end_is_not_an_error_but_a_torn_message_is() {
        assert!(
            read_message::<Hello>(&mut &b""[..])
                .await
                .unwrap()
                .is_none()
        );
        assert!(read_message::<Hello>(&mut &[0, 0][..]).await.is_err());
    }
}
