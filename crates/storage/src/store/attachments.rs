//! Attachments: files kept beside a disk, each sealed, with a description that is read without the rest.

use object_store::path::Path;

use super::{Store, again};
use crate::error::Result;
use crate::keys::{Entropy, ObjectId, Tenant, TenantKeys};
use crate::manifest::DiskName;
use crate::object::{Directory, Kind, ObjectWriter, Opener};

/// Bytes of a frame: what a reader has in memory at a time.
const FRAME: usize = 1 << 20;

/// One attachment, whose content comes piece by piece.
#[derive(Debug)]
pub struct Attachment {
    store: Store,
    path: Path,
    opener: Opener,
    directory: Directory,
    description: Vec<u8>,
    next: usize,
}

impl Attachment {
    pub fn description(&self) -> &[u8] {
        &self.description
    }

    /// Bytes of the content.
    pub fn bytes(&self) -> u64 {
        let frames = self.directory.frames.iter();
        frames.map(|frame| u64::from(frame.raw)).sum()
    }

    /// The next piece of the content; `None` after the last. Blocks.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(frame) = self.directory.frames.get(self.next) else {
            return Ok(None);
        };
        if frame.raw as usize > FRAME {
            return Err(self.opener.damaged("a frame is larger than any"));
        }
        let range = frame.offset..frame.offset + u64::from(frame.frame.stored);
        let number = self.next as u32;
        let piece = again(|| {
            let mut stored = self.store.get_range(&self.path, range.clone())?;
            let mut raw = vec![0; frame.raw as usize];
            let compressed = frame.frame.compressed;
            self.opener
                .frame(number, compressed, &mut stored, &mut raw)?;
            Ok(raw)
        })?;
        self.next += 1;
        Ok(Some(piece))
    }
}

impl Store {
    /// Keeps `content` beside a disk, durably.
    pub fn put_attachment(
        &self,
        keys: &TenantKeys,
        entropy: &dyn Entropy,
        disk: &DiskName,
        description: &[u8],
        content: &[u8],
    ) -> Result<ObjectId> {
        let mut object = ObjectWriter::new(Kind::Attachment, entropy.object_id(), keys)?;
        for piece in content.chunks(FRAME) {
            object.frame(piece);
        }
        let id = object.id();
        let sealed = object.finish(&extra(disk, description));
        self.put(&attachment_path(keys.tenant(), disk, &id), sealed)?;
        Ok(id)
    }

    /// What is kept beside a disk.
    pub fn list_attachments(&self, tenant: &Tenant, disk: &DiskName) -> Result<Vec<ObjectId>> {
        let stored = self.list_stored(format!("{tenant}/attachments/{disk}"))?;
        Ok(stored.into_iter().map(|stored| stored.id).collect())
    }

    /// Opens an attachment: reads what it says of itself.
    pub fn attachment(
        &self,
        keys: &TenantKeys,
        disk: &DiskName,
        id: &ObjectId,
    ) -> Result<Attachment> {
        let path = attachment_path(keys.tenant(), disk, id);
        again(|| {
            let (opener, _, directory) = self.directory(Kind::Attachment, keys, &path, id)?;
            let description = description(disk, &directory.extra)
                .ok_or_else(|| opener.damaged("it belongs to another disk"))?
                .to_vec();
            Ok(Attachment {
                store: self.clone(),
                path: path.clone(),
                opener,
                directory,
                description,
                next: 0,
            })
        })
    }

    /// Deletes an attachment. One that is not there is no error.
    pub fn delete_attachment(&self, tenant: &Tenant, disk: &DiskName, id: &ObjectId) -> Result<()> {
        self.delete(&attachment_path(tenant, disk, id))
    }
}

fn attachment_path(tenant: &Tenant, disk: &DiskName, id: &ObjectId) -> Path {
    Path::from(format!("{tenant}/attachments/{disk}/{id}"))
}

/// What the directory of an attachment adds: whose it is, and the description.
fn extra(disk: &DiskName, description: &[u8]) -> Vec<u8> {
    let disk = disk.as_str().as_bytes();
    let length = (disk.len() as u32).to_le_bytes();
    [&length, disk, description].concat()
}

pub(crate) fn description<'a>(disk: &DiskName, extra: &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = extra.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (owner, description) = rest.split_at_checked(length)?;
    (owner == disk.as_str().as_bytes()).then_some(description)
}
