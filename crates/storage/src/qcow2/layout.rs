//! Where everything lies in a qcow2 file that is written from front to back: header, reference counts, tables,
//! and then the clusters of the disk in order.

use std::io::{self, Write};

use super::{CLUSTER, CLUSTER_BITS, HEADER, MAGIC};

/// The cluster has no other user.
const COPIED: u64 = 1 << 63;
const ENTRIES: u64 = CLUSTER / 8;
/// Two bytes each.
const COUNTS: u64 = CLUSTER / 2;

/// One file: version 3, nothing compressed, no file below it.
#[derive(Debug)]
pub struct Layout {
    /// Of the disk, bytes.
    size: u64,
    /// Numbers of the clusters that are not zero, in order.
    clusters: Vec<u32>,
    /// Clusters of each kind of table.
    count_table: u64,
    counts: u64,
    first_table: u64,
    /// Numbers of the second tables.
    tables: Vec<u64>,
}

impl Layout {
    pub fn new(size: u64, clusters: Vec<u32>) -> Self {
        let mut tables: Vec<u64> = clusters
            .iter()
            .map(|cluster| u64::from(*cluster) / ENTRIES)
            .collect();
        tables.dedup();
        let entries = size.div_ceil(CLUSTER * ENTRIES);
        let mut layout = Self {
            size,
            first_table: entries.div_ceil(ENTRIES),
            count_table: 0,
            counts: 0,
            tables,
            clusters,
        };
        // Counts are counted, too: more of them until they are enough.
        loop {
            let counts = layout.length().div_ceil(CLUSTER * COUNTS);
            let count_table = counts.div_ceil(ENTRIES);
            if (counts, count_table) == (layout.counts, layout.count_table) {
                return layout;
            }
            (layout.counts, layout.count_table) = (counts, count_table);
        }
    }

    pub fn clusters(&self) -> &[u32] {
        &self.clusters
    }

    fn first_table_at(&self) -> u64 {
        (1 + self.count_table + self.counts) * CLUSTER
    }

    fn tables_at(&self) -> u64 {
        self.first_table_at() + self.first_table * CLUSTER
    }

    fn data_at(&self) -> u64 {
        self.tables_at() + self.tables.len() as u64 * CLUSTER
    }

    /// Of the file, bytes.
    pub fn length(&self) -> u64 {
        self.data_at() + self.clusters.len() as u64 * CLUSTER
    }

    /// Writes everything that comes before the clusters of the disk.
    pub fn write_tables(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.header())?;
        write_entries(out, self.count_table, |number| {
            (number < self.counts).then_some((1 + self.count_table + number) * CLUSTER)
        })?;
        let used = self.length() / CLUSTER;
        let mut buffer = vec![0; CLUSTER as usize];
        for number in 0..self.counts {
            for (place, count) in (number * COUNTS..).zip(buffer.chunks_mut(2)) {
                count.copy_from_slice(&u16::from(place < used).to_be_bytes());
            }
            out.write_all(&buffer)?;
        }
        let mut tables = (self.tables_at()..).step_by(CLUSTER as usize);
        let mut wanted = self.tables.iter().peekable();
        write_entries(out, self.first_table, |number| {
            wanted.next_if(|wanted| **wanted == number)?;
            Some(tables.next()? | COPIED)
        })?;
        let mut places = (self.data_at()..).step_by(CLUSTER as usize);
        let mut clusters = self.clusters.iter().peekable();
        for table in &self.tables {
            write_entries(out, 1, |number| {
                let cluster = table * ENTRIES + number;
                clusters.next_if(|wanted| u64::from(**wanted) == cluster)?;
                Some(places.next()? | COPIED)
            })?;
        }
        Ok(())
    }

    fn header(&self) -> Vec<u8> {
        let mut header = vec![0; CLUSTER as usize];
        let entries = self.size.div_ceil(CLUSTER * ENTRIES) as u32;
        let words: [(usize, u32); 6] = [
            (4, 3),
            (20, CLUSTER_BITS),
            (36, entries),
            (56, self.count_table as u32),
            // Of a count 2^4 bits.
            (96, 4),
            (100, HEADER as u32),
        ];
        let longs = [
            (24, self.size),
            (40, self.first_table_at()),
            // Right behind the header.
            (48, CLUSTER),
        ];
        header[..4].copy_from_slice(MAGIC);
        for (at, word) in words {
            header[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        for (at, long) in longs {
            header[at..at + 8].copy_from_slice(&long.to_be_bytes());
        }
        header
    }
}

/// Writes so many clusters of entries: what `entry` says of each, which is asked in order.
fn write_entries(
    out: &mut dyn Write,
    clusters: u64,
    mut entry: impl FnMut(u64) -> Option<u64>,
) -> io::Result<()> {
    let mut buffer = vec![0; CLUSTER as usize];
    for cluster in 0..clusters {
        for (number, bytes) in (cluster * ENTRIES..).zip(buffer.chunks_mut(8)) {
            bytes.copy_from_slice(&entry(number).unwrap_or(0).to_be_bytes());
        }
        out.write_all(&buffer)?;
    }
    Ok(())
}
