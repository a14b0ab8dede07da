//! Files whose content since the last sync is a matter of chance once the power is gone.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::files::{FileHandle, Files, Words};

use crate::chance::Chance;
use crate::faults::{Fault, Faults};

const PAGE: usize = 4096;
/// What a device writes whole or not at all.
const SECTOR: usize = 512;

/// The files of a simulated host.
#[derive(Clone, Debug)]
pub struct SimFiles {
    chance: Chance,
    faults: Faults,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: Vec<Content>,
    /// Names as the kernel sees them, and as they are after a power cut.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
}

type Page = Arc<[u8; PAGE]>;

#[derive(Debug, Default)]
struct Content {
    /// What is read; pages that are not there are zeros.
    now: Vec<Option<Page>>,
    durable: Vec<Option<Page>>,
    length: usize,
    durable_length: usize,
    /// Page → what was there after each write since the last sync, oldest first.
    loose: BTreeMap<usize, Vec<Page>>,
}

/// Where a page is, or would be.
fn place(pages: &mut Vec<Option<Page>>, number: usize) -> &mut Option<Page> {
    if pages.len() <= number {
        pages.resize(number + 1, None);
    }
    &mut pages[number]
}

/// A page to be changed, zeros when it was not there.
fn page_mut(pages: &mut Vec<Option<Page>>, number: usize) -> &mut [u8; PAGE] {
    Arc::make_mut(place(pages, number).get_or_insert_with(|| Arc::new([0; PAGE])))
}

/// A range of bytes as it lies in pages: the page, where in it, and where in the range.
fn parts(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    (range.start / PAGE..range.end.div_ceil(PAGE)).map(move |page| {
        let start = range.start.max(page * PAGE);
        let end = range.end.min((page + 1) * PAGE);
        let within = start - page * PAGE..end - page * PAGE;
        (page, within, start - range.start..end - range.start)
    })
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        for (page, within, part) in parts(offset..end) {
            page_mut(&mut self.now, page)[within].copy_from_slice(&bytes[part]);
            self.loosen(page);
        }
        self.length = self.length.max(end);
    }

    fn zero(&mut self, range: Range<usize>) {
        for (page, within, _) in parts(range) {
            page_mut(&mut self.now, page)[within].fill(0);
            self.loosen(page);
        }
    }

    fn read(&self, buffer: &mut [u8], offset: usize) -> io::Result<()> {
        let end = offset + buffer.len();
        if end > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, within, part) in parts(offset..end) {
            match self.now.get(page).and_then(Option::as_ref) {
                Some(page) => buffer[part].copy_from_slice(&page[within]),
                None => buffer[part].fill(0),
            }
        }
        Ok(())
    }

    fn loosen(&mut self, page: usize) {
        let content = self.now[page].clone();
        let versions = self.loose.entry(page).or_default();
        versions.push(content.expect("it was written"));
    }

    fn sync(&mut self) {
        for page in std::mem::take(&mut self.loose).into_keys() {
            place(&mut self.durable, page).clone_from(&self.now[page]);
        }
        self.durable_length = self.length;
    }

    /// Of what is loose, some arrived, in sectors.
    fn power_cut(&mut self, chance: &Chance) {
        self.arrive(chance);
        self.now.clone_from(&self.durable);
        self.length = self.durable_length;
    }

    fn arrive(&mut self, chance: &Chance) {
        let how = chance.below(5);
        for (page, versions) in std::mem::take(&mut self.loose) {
            let durable = page_mut(&mut self.durable, page);
            let whole = chance.below(versions.len() as u64 + 1);
            for sector in 0..PAGE / SECTOR {
                let kept = match how {
                    0 => 0,
                    1 => versions.len() as u64,
                    2 => chance.below(versions.len() as u64 + 1),
                    _ => whole,
                };
                if let Some(number) = kept.checked_sub(1) {
                    let at = sector * SECTOR;
                    self.durable_length = self.durable_length.max(page * PAGE + at + SECTOR);
                    durable[at..at + SECTOR]
                        .copy_from_slice(&versions[number as usize][at..at + SECTOR]);
                }
            }
        }
    }

    /// Everything that is read, to be changed for good.
    fn change<T>(&mut self, act: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut bytes = vec![0; self.now.len() * PAGE];
        for (bytes, page) in bytes.chunks_mut(PAGE).zip(&self.now) {
            if let Some(page) = page {
                bytes.copy_from_slice(&page[..]);
            }
        }
        let done = act(&mut bytes);
        let (pages, _) = bytes.as_chunks::<PAGE>();
        self.now = pages.iter().map(|page| Some(Arc::new(*page))).collect();
        self.durable.clone_from(&self.now);
        self.durable_length = self.length;
        self.loose.clear();
        done
    }
}

fn killed() -> io::Error {
    io::Error::other("the process is gone")
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(28)
}

/// What kind of file it is, for the fault table.
fn kind(path: &Path) -> &'static str {
    if path
        .extension()
        .is_some_and(|extension| extension == "unfinished")
    {
        return "unfinished";
    }
    match path.file_name().and_then(|name| name.to_str()) {
        Some("log") => "log",
        Some("map") => "map",
        Some("session") => "session",
        _ => "other",
    }
}

impl SimFiles {
    pub fn new(chance: Chance, faults: Faults) -> Self {
        Self {
            chance,
            faults,
            disk: Arc::default(),
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes, and comes back.
    pub fn power_cut(&self) {
        let mut disk = self.disk();
        // A name that was not synced may have arrived all the same.
        let names = disk.names.clone();
        for (path, file) in names {
            if disk.durable_names.get(&path) != Some(&file) && self.chance.one_in(2) {
                disk.durable_names.insert(path, file);
            }
        }
        disk.names = disk.durable_names.clone();
        for file in &mut disk.files {
            file.power_cut(&self.chance);
        }
    }

    /// Everything that a file holds, to be damaged.
    pub fn with_content<T>(&self, path: &Path, act: impl FnOnce(&mut [u8]) -> T) -> Option<T> {
        let mut disk = self.disk();
        let file = *disk.names.get(path)?;
        Some(disk.files[file].change(act))
    }
}

impl Files for SimFiles {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn FileHandle>> {
        match self.faults.at(("open", kind(path))) {
            Some(Fault::Kill | Fault::PowerCut) => return Err(killed()),
            Some(_) => return Err(refused()),
            None => {}
        }
        let mut disk = self.disk();
        let file = match disk.names.get(path) {
            Some(file) => *file,
            None if create => {
                disk.files.push(Content::default());
                let file = disk.files.len() - 1;
                disk.names.insert(path.to_owned(), file);
                file
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile {
            files: self.clone(),
            kind: kind(path),
            file,
        }))
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let fault = self.faults.at(("replace", kind(from)));
        match fault {
            Some(Fault::Refused) => return Err(refused()),
            Some(Fault::Kill | Fault::PowerCut) if self.chance.one_in(2) => return Err(killed()),
            _ => {}
        }
        let mut disk = self.disk();
        let file = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), file);
        match fault {
            Some(Fault::Kill | Fault::PowerCut) => return Err(killed()),
            Some(_) => {
                disk.durable_names = disk.names.clone();
                return Err(refused());
            }
            None => disk.durable_names = disk.names.clone(),
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.faults.at(("remove", kind(path))) {
            Some(Fault::Kill | Fault::PowerCut) => return Err(killed()),
            Some(_) => return Err(refused()),
            None => {}
        }
        self.disk().names.remove(path);
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.durable_names = disk.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    files: SimFiles,
    kind: &'static str,
    file: usize,
}

impl SimFile {
    fn at(&self, what: &'static str) -> Option<Fault> {
        self.files.faults.at((what, self.kind))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Content) -> T) -> T {
        act(&mut self.files.disk().files[self.file])
    }
}

impl FileHandle for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.at("read") {
            Some(Fault::Kill | Fault::PowerCut) => return Err(killed()),
            Some(_) => return Err(io::Error::from_raw_os_error(5)),
            None => {}
        }
        self.with(|content| content.read(buffer, offset as usize))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fault = self.at("write");
        let part = match fault {
            None | Some(Fault::DoneButRefused) => bytes.len(),
            Some(Fault::Refused) => 0,
            // As far as it came, in whole sectors.
            Some(_) => {
                let sectors = self
                    .files
                    .chance
                    .below(bytes.len().div_ceil(SECTOR) as u64 + 1);
                bytes.len().min(sectors as usize * SECTOR)
            }
        };
        if part > 0 {
            self.with(|content| content.write(&bytes[..part], offset as usize));
        }
        match fault {
            None => Ok(()),
            Some(Fault::Kill | Fault::PowerCut) => Err(killed()),
            Some(_) => Err(refused()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self.at("sync") {
            None => {
                self.with(Content::sync);
                Ok(())
            }
            Some(Fault::LostBySync) => {
                // The kernel takes the pages for clean: no later sync writes them.
                self.with(|content| {
                    content.arrive(&self.files.chance);
                    content.durable_length = content.length;
                });
                Err(io::Error::from_raw_os_error(5))
            }
            Some(_) => {
                // Gone in the midst of it: some arrived.
                if self.files.chance.one_in(2) {
                    self.with(Content::sync);
                }
                Err(killed())
            }
        }
    }

    fn length(&self) -> io::Result<u64> {
        match self.at("length") {
            Some(_) => Err(killed()),
            None => Ok(self.with(|content| content.length as u64)),
        }
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.at("allocate") {
            Some(Fault::Kill | Fault::PowerCut) => return Err(killed()),
            Some(_) => return Err(refused()),
            None => {}
        }
        self.with(|content| content.length = content.length.max((offset + length) as usize));
        Ok(())
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.at("punch") {
            Some(Fault::Kill | Fault::PowerCut) => return Err(killed()),
            Some(_) => return Err(refused()),
            None => {}
        }
        self.with(|content| {
            let (start, end) = (offset as usize, (offset + length) as usize);
            let end = end.min(content.now.len() * PAGE);
            if start < end {
                content.zero(start..end);
            }
        });
        Ok(())
    }

    fn words(&self, offset: u64, words: usize, _capacity: usize) -> io::Result<Words> {
        let mut bytes = vec![0; words * 4];
        self.read_at(&mut bytes, offset)?;
        let words = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word));
        Ok(Words::Owned(words.collect()))
    }
}
