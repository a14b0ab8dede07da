//! A disk as a network block device on a stream (`doc/proto.md` of the NBD project, fixed newstyle, simple
//! replies), for hosts where no file can be mounted.
//!
//! A client that reconnects finds the same disk: whatever was not answered it asks again.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use super::{Device, errno, patient_flush, patient_read};

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Fixed newstyle, and no zeros after the answer to an old option.
const HANDSHAKE: u16 = 0b11;
/// The flags are meant; flush, FUA, trim and writing zeros are known.
const TRANSMISSION: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6;
const FUA: u16 = 1;
/// Bytes of the largest request that is taken.
const MAX_REQUEST: u32 = 32 << 20;
/// Bytes of the largest option: none that is known has more than a name.
const MAX_OPTION: u32 = 8192;
/// Requests that are worked on at once.
const WORKERS: usize = 4;

mod option {
    pub const EXPORT_NAME: u32 = 1;
    pub const ABORT: u32 = 2;
    pub const INFO: u32 = 6;
    pub const GO: u32 = 7;
}

mod answer {
    pub const ACK: u32 = 1;
    pub const INFO: u32 = 3;
    pub const UNSUPPORTED: u32 = 1 << 31 | 1;
    pub const INVALID: u32 = 1 << 31 | 3;
}

mod command {
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISCONNECT: u16 = 2;
    pub const FLUSH: u16 = 3;
    pub const TRIM: u16 = 4;
    pub const WRITE_ZEROES: u16 = 6;
}

/// Serves one client until it goes. Blocks.
pub fn serve(stream: &UnixStream, device: &dyn Device) -> io::Result<()> {
    if !negotiate(stream, device.size())? {
        return Ok(());
    }
    let (requests, replies) = (Mutex::new(stream), Mutex::new(stream));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    crate::sys::answer_quickly();
                    work(&requests, &replies, device)
                })
            })
            .collect();
        let ended = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read_array<const N: usize>(mut from: impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Agrees on the disk; false when the client changed its mind.
fn negotiate(mut stream: &UnixStream, size: u64) -> io::Result<bool> {
    let mut hello = Vec::new();
    hello.extend_from_slice(&MAGIC.to_be_bytes());
    hello.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    hello.extend_from_slice(&HANDSHAKE.to_be_bytes());
    stream.write_all(&hello)?;
    let client = u32::from_be_bytes(read_array(stream)?);
    loop {
        if u64::from_be_bytes(read_array(stream)?) != OPTION_MAGIC {
            return Err(invalid("what is no option"));
        }
        let option = u32::from_be_bytes(read_array(stream)?);
        let length = u32::from_be_bytes(read_array(stream)?);
        if length > MAX_OPTION {
            return Err(invalid("an option that is too long"));
        }
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        let mut reply = |kind: u32, body: &[u8]| {
            let mut out = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
            out.extend_from_slice(&option.to_be_bytes());
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&(body.len() as u32).to_be_bytes());
            out.extend_from_slice(body);
            stream.write_all(&out)
        };
        match option {
            option::EXPORT_NAME => {
                let mut out = size.to_be_bytes().to_vec();
                out.extend_from_slice(&TRANSMISSION.to_be_bytes());
                if client & 2 == 0 {
                    out.resize(out.len() + 124, 0);
                }
                stream.write_all(&out)?;
                return Ok(true);
            }
            option::INFO | option::GO => {
                if data.len() < 6 {
                    reply(answer::INVALID, &[])?;
                    continue;
                }
                let mut export = 0u16.to_be_bytes().to_vec();
                export.extend_from_slice(&size.to_be_bytes());
                export.extend_from_slice(&TRANSMISSION.to_be_bytes());
                reply(answer::INFO, &export)?;
                // Smallest, best and largest request.
                let mut sizes = 3u16.to_be_bytes().to_vec();
                for bytes in [1, 4096, MAX_REQUEST] {
                    sizes.extend_from_slice(&u32::to_be_bytes(bytes));
                }
                reply(answer::INFO, &sizes)?;
                reply(answer::ACK, &[])?;
                if option == option::GO {
                    return Ok(true);
                }
            }
            option::ABORT => {
                reply(answer::ACK, &[])?;
                return Ok(false);
            }
            _ => reply(answer::UNSUPPORTED, &[])?,
        }
    }
}

struct Request {
    flags: u16,
    command: u16,
    handle: [u8; 8],
    offset: u64,
    length: u32,
}

/// Takes one request after the other, in turn with the other workers.
fn work(
    requests: &Mutex<&UnixStream>,
    replies: &Mutex<&UnixStream>,
    device: &dyn Device,
) -> io::Result<()> {
    let mut data = Vec::new();
    loop {
        let request = {
            let stream = requests.lock().unwrap_or_else(PoisonError::into_inner);
            match next(&stream, &mut data) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        };
        let outcome = act(&request, device, &mut data);
        let mut out = Vec::with_capacity(16);
        out.extend_from_slice(&REPLY_MAGIC.to_be_bytes());
        let error = outcome.as_ref().err().map_or(0, errno);
        out.extend_from_slice(&(error as u32).to_be_bytes());
        out.extend_from_slice(&request.handle);
        let held = replies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream: &UnixStream = &held;
        stream.write_all(&out)?;
        if request.command == command::READ && outcome.is_ok() {
            stream.write_all(&data)?;
        }
    }
}

/// Reads the next request and what it brings; `None` when the client says goodbye.
fn next(mut stream: &UnixStream, data: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let header: [u8; 28] = read_array(stream)?;
    let part = |at: usize, length: usize| &header[at..at + length];
    let word = |at: usize| u32::from_be_bytes(*part(at, 4).first_chunk().expect("4 bytes"));
    let short = |at: usize| u16::from_be_bytes(*part(at, 2).first_chunk().expect("2 bytes"));
    if word(0) != REQUEST_MAGIC {
        // So that no other worker takes what follows for a request.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        return Err(invalid("what is no request"));
    }
    let request = Request {
        flags: short(4),
        command: short(6),
        handle: *part(8, 8).first_chunk().expect("8 bytes"),
        offset: u64::from_be_bytes(*part(16, 8).first_chunk().expect("8 bytes")),
        length: word(24),
    };
    if request.command == command::DISCONNECT {
        let _ = stream.shutdown(std::net::Shutdown::Read);
        return Ok(None);
    }
    data.clear();
    let carries = matches!(request.command, command::READ | command::WRITE);
    if carries {
        if request.length > MAX_REQUEST {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return Err(invalid("a request that is too long"));
        }
        data.resize(request.length as usize, 0);
    }
    if request.command == command::WRITE {
        stream.read_exact(data)?;
    }
    Ok(Some(request))
}

fn act(request: &Request, device: &dyn Device, data: &mut [u8]) -> crate::Result<()> {
    let (offset, length) = (request.offset, u64::from(request.length));
    match request.command {
        command::READ => return patient_read(device, offset, data),
        command::WRITE => device.write(offset, data)?,
        command::FLUSH => return patient_flush(device),
        command::TRIM | command::WRITE_ZEROES => device.zero(offset, length)?,
        other => {
            let text = format!("the command {other} is not known");
            return Err(crate::StorageError::Invalid(text));
        }
    }
    if request.flags & FUA != 0 {
        patient_flush(device)?;
    }
    Ok(())
}
