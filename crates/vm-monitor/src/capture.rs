//! The process that writes a machine's memory to the store, for as long as that takes: started by the monitor, given
//! what it takes to look at the VMM's memory, and told by it when the machine stands still.
//!
//! ```text
//! monitor                                  this process
//!   GuestMemory, by SCM_RIGHTS ──────────►  begins a version over the one before
//!   Store, as often as it is worth ──────►  what has changed goes to the store while the machine runs
//!   (the machine stands still)
//!   Take ────────────────────────────────►  what has changed since is copied here
//!   (it goes on)
//!   Commit ──────────────────────────────►  that goes to the store too, and the version is made
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use microvm::memory::{GuestMemory, PAGE, Run, Scan, pages};
use serde::{Deserialize, Serialize};
use storage::disk::World;
use storage::keys::TenantKeys;
use storage::manifest::{DiskName, Point, Version};
use storage::memory::{Changed, MemoryWriter, Pages};
use storage::spec::StoreSpec;
use storage::{Result, StorageError};

/// Room for pages is made beforehand, bytes: the machine stands still while they are copied, and memory that is new
/// takes longer.
const ROOM: std::ops::RangeInclusive<u64> = 4 << 20..=128 << 20;

/// What a capture is told in its file, which has keys in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaptureSpec {
    pub store: StoreSpec,
    pub keys: TenantKeys,
    /// Of the images of this machine's memory.
    pub name: DiskName,
    /// What the machine went on from, or its last checkpoint; absent: nothing.
    pub parent: Option<Version>,
    /// Of the placement.
    pub epoch: u64,
    pub point: Point,
    /// The machine's disk.
    pub disk: DiskName,
    /// How the machine is made.
    pub machine: serde_json::Value,
}

/// What it is asked, a line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Bring pages to the store, as they are now.
    Store { scan: Scan },
    /// Copy pages here.
    Take { scan: Scan },
    /// Bring what was taken to the store, and make the version: with that version of the disk, and the state of the
    /// devices that is in a file.
    Commit { disk: u64, devices: PathBuf },
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
pub enum Said {
    Ready,
    /// So many pages of so many that are to be stored now.
    Progress {
        done: u64,
        of: u64,
    },
    Stored {
        pages: u64,
    },
    Taken {
        pages: u64,
    },
    Committed {
        version: Version,
    },
    Failed {
        reason: String,
    },
}

/// Why there is no version.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("the capture cannot use what it was given")]
    Io(#[from] io::Error),
    #[error("the memory is not stored")]
    Storage(#[from] StorageError),
}

/// The whole of a process. Standard input is the control socket.
pub fn run(spec: &Path) -> std::result::Result<(), CaptureError> {
    let control = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let teller = Teller(Mutex::new(control.try_clone()?));
    let captured = capture(spec, &control, &teller);
    if let Err(error) = &captured {
        teller.say(&Said::Failed {
            reason: disk_server::chain(error),
        });
    }
    captured
}

fn capture(
    spec: &Path,
    control: &UnixStream,
    teller: &Teller,
) -> std::result::Result<(), CaptureError> {
    let memory = GuestMemory::receive(control)?;
    let spec: CaptureSpec = disk_server::spec::read(spec)?;
    let runtime = spec
        .store
        .is_remote()
        .then(tokio::runtime::Runtime::new)
        .transpose()?;
    let handle = runtime.as_ref().map(tokio::runtime::Runtime::handle);
    let world = World::new(spec.store.open(handle)?, spec.keys.clone());
    let pages = (memory.bytes() / PAGE) as u32;
    let mut writer = MemoryWriter::begin(&world, &spec.name, spec.parent.as_ref(), pages)?;
    let mut taken = Taken::default();
    teller.say(&Said::Ready);
    for line in BufReader::new(control).lines() {
        let asked: Ask = serde_json::from_str(&line?).map_err(io::Error::from)?;
        match asked {
            Ask::Store { scan } => {
                let pages = store(&memory, scan, &mut writer, teller)?;
                taken.make_room(pages * PAGE * 2);
                teller.say(&Said::Stored { pages });
            }
            Ask::Take { scan } => {
                let pages = taken.take(&memory, scan)?;
                teller.say(&Said::Taken { pages });
            }
            Ask::Commit { disk, devices } => {
                let changed: Vec<Changed> = taken.runs.iter().copied().map(changed).collect();
                writer.store(&taken, &changed, &|_| {})?;
                let disk = Version {
                    tenant: spec.keys.tenant().clone(),
                    disk: spec.disk.clone(),
                    number: disk,
                };
                let devices = std::fs::read(devices)?;
                let made =
                    writer.commit(spec.epoch, &spec.point, &disk, &spec.machine, &devices)?;
                teller.say(&Said::Committed {
                    version: made.version,
                });
                return Ok(());
            }
        }
    }
    // Nobody wants it any more.
    Ok(())
}

fn changed(run: Run) -> Changed {
    Changed {
        first: run.first,
        count: run.count,
        zero: run.zero,
    }
}

/// Stores pages as the machine has them; those that change meanwhile are found by the next scan.
fn store(
    memory: &GuestMemory,
    scan: Scan,
    writer: &mut MemoryWriter<'_>,
    teller: &Teller,
) -> Result<u64> {
    let mut runs = Vec::new();
    memory
        .scan(scan, &mut runs)
        .map_err(|source| StorageError::File {
            what: "the machine's memory".to_owned(),
            source,
        })?;
    let of = pages(&runs);
    let done = std::sync::atomic::AtomicU64::new(0);
    let stored = |count| {
        let done = done.fetch_add(count, std::sync::atomic::Ordering::Relaxed) + count;
        teller.say(&Said::Progress { done, of });
    };
    let changed: Vec<Changed> = runs.into_iter().map(changed).collect();
    writer.store(&Live(memory), &changed, &stored)?;
    Ok(of)
}

/// Memory as it is.
struct Live<'a>(&'a GuestMemory);

impl Pages for Live<'_> {
    fn read(&self, first: u32, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(first, buffer)
    }
}

/// Pages as they were at one moment.
#[derive(Default)]
struct Taken {
    runs: Vec<Run>,
    /// Where the content of each run begins.
    begins: Vec<usize>,
    content: Vec<u8>,
}

impl Taken {
    fn make_room(&mut self, bytes: u64) {
        let bytes = bytes.clamp(*ROOM.start(), *ROOM.end()) as usize;
        if self.content.len() < bytes {
            // Written, so that the pages are there.
            self.content.resize(bytes, 1);
        }
    }

    fn take(&mut self, memory: &GuestMemory, scan: Scan) -> io::Result<u64> {
        memory.scan(scan, &mut self.runs)?;
        self.begins.clear();
        let mut end = 0;
        for run in &self.runs {
            self.begins.push(end);
            if run.zero {
                continue;
            }
            let begin = end;
            end += run.count as usize * PAGE as usize;
            if self.content.len() < end {
                self.content.resize(end, 0);
            }
            memory.read(run.first, &mut self.content[begin..end])?;
        }
        Ok(pages(&self.runs))
    }
}

impl Pages for Taken {
    fn read(&self, first: u32, buffer: &mut [u8]) -> io::Result<()> {
        let number = self.runs.partition_point(|run| run.first <= first) - 1;
        let skipped = (first - self.runs[number].first) as usize * PAGE as usize;
        let begin = self.begins[number] + skipped;
        buffer.copy_from_slice(&self.content[begin..begin + buffer.len()]);
        Ok(())
    }
}

struct Teller(Mutex<UnixStream>);

impl Teller {
    fn say(&self, said: &Said) {
        let mut line = serde_json::to_vec(said).expect("it has no keys but texts");
        line.push(b'\n');
        let mut control = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Nobody there: it is about to be noticed.
        let _ = control.write_all(&line);
    }
}
