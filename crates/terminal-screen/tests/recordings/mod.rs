//! Sessions to replay: recordings of real programs, and random ones.
//!
//! A recording is records of `r` columns rows (u16 each) or `o` length (u32) and output, little-endian.

use std::path::PathBuf;

use anyhow::Context;
use terminal_screen::Size;

pub enum Event {
    Resize(Size),
    Output(Vec<u8>),
}

impl Event {
    pub fn length(&self) -> usize {
        match self {
            Event::Resize(_) => 0,
            Event::Output(bytes) => bytes.len(),
        }
    }
}

/// Every recording, by name.
pub fn recorded() -> anyhow::Result<Vec<(String, Vec<Event>)>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rec") {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            found.push((
                name,
                decode(&std::fs::read(&path)?).with_context(|| path.display().to_string())?,
            ));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn decode(mut data: &[u8]) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    while let Some((kind, rest)) = data.split_first() {
        let (numbers, rest) = rest.split_first_chunk::<4>().context("cut short")?;
        if *kind == b'r' {
            let [a, b, c, d] = *numbers;
            events.push(Event::Resize(Size {
                columns: u16::from_le_bytes([a, b]),
                rows: u16::from_le_bytes([c, d]),
            }));
            data = rest;
        } else {
            let (bytes, rest) = rest
                .split_at_checked(u32::from_le_bytes(*numbers) as usize)
                .context("cut short")?;
            events.push(Event::Output(bytes.to_vec()));
            data = rest;
        }
    }
    Ok(events)
}

pub fn encode(events: &[Event]) -> Vec<u8> {
    let mut data = Vec::new();
    for event in events {
        match event {
            Event::Resize(size) => {
                data.push(b'r');
                data.extend(size.columns.to_le_bytes());
                data.extend(size.rows.to_le_bytes());
            }
            Event::Output(bytes) => {
                data.push(b'o');
                data.extend((bytes.len() as u32).to_le_bytes());
                data.extend(bytes);
            }
        }
    }
    data
}

/// A generator whose sequence only the seed decides (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    pub fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a random session is made of. Not everything together: see "What is known to differ" in the crate.
struct Ingredients {
    text: &'static [&'static str],
    escapes: &'static [&'static str],
    modes: &'static [&'static str],
    finals: &'static [&'static str],
    colors: &'static [&'static str],
    strings: &'static [&'static str],
    resizes: bool,
}

const TEXT: &[&str] = &[
    "a",
    "xyz ",
    "hello world ",
    "中文",
    "😀",
    "e\u{301}",
    "│─┐",
    "\u{200d}",
    "0123456789abcdef",
    "qqq",
];
const CONTROLS: &[&str] = &[
    "\r\n", "\r\n", "\n", "\r", "\x08", "\t", "\x0e", "\x0f", "\x0b",
];
const ESCAPES: &[&str] = &[
    "D", "E", "M", "=", ">", "(0", "(B", ")0", ")B", "n", "o", "*A",
];
const FINALS: &[&str] = &[
    "A", "B", "C", "D", "E", "F", "G", "H", "H", "H", "I", "J", "K", "K", "L", "M", "P", "X", "Z",
    "b", "d", "r", " q", "'~", " @", "\"q", "?J", "?K",
];
const MODES: &[&str] = &[
    "4", "?1", "?6", "?7", "?25", "?45", "?1000", "?1006", "?2004",
];
const COLORS: &[&str] = &[
    "31",
    "42",
    "97",
    "1",
    "7",
    "0",
    "0",
    "0",
    "38;5;99",
    "48;2;1;2;3",
    "53",
    "9",
];

/// Windows that change their size.
const RESIZED: Ingredients = Ingredients {
    text: TEXT,
    escapes: ESCAPES,
    modes: MODES,
    finals: FINALS,
    colors: COLORS,
    strings: &["\x1b]2;title\x07", "\x1b]4;3;#123456\x07", "\x1b[>1u"],
    resizes: true,
};

/// Saved cursors and tab stops.
const SAVING: Ingredients = Ingredients {
    escapes: &[
        "7", "8", "7", "8", "H", "D", "E", "M", "(0", "(B", ")0", ")B", "n", "o", "*A",
    ],
    modes: &[
        "4", "?6", "?7", "?25", "?45", "?47", "?1047", "?1049", "?1049", "?1048",
    ],
    finals: &[
        "A", "B", "H", "H", "G", "I", "Z", "K", "L", "M", "r", "s", "u", "g",
    ],
    resizes: false,
    ..RESIZED
};

/// Underlines and links, and columns inserted.
const DECORATED: Ingredients = Ingredients {
    text: &[
        "a",
        "xyz ",
        "hello world ",
        "e\u{301}",
        "│─┐",
        "0123456789abcdef",
        "qqq",
    ],
    finals: &[
        "!p", "@", "A", "B", "C", "D", "H", "H", "J", "K", "L", "M", "P", "X", "b", "'}", "'~",
        " @", " A",
    ],
    colors: &[
        "31",
        "42",
        "4",
        "4:3",
        "24",
        "21",
        "58:5:4",
        "59",
        "58;2;9;8;7",
        "0",
        "0",
        "7",
        "1",
        "2",
        "22",
    ],
    strings: &[
        "\x1b]8;;https://a.example\x1b\\",
        "\x1b]8;id=b;https://b.example\x1b\\",
        "\x1b]8;;\x1b\\",
    ],
    resizes: false,
    ..RESIZED
};

/// A session of `seed`: text and sequences of every kind.
pub fn random_session(seed: u64) -> Vec<Event> {
    let mut random = Random::new(seed);
    let ingredients = [RESIZED, SAVING, DECORATED]
        .into_iter()
        .nth(seed as usize % 3)
        .unwrap_or(RESIZED);
    let size = |random: &mut Random| Size {
        columns: 8 + random.below(24) as u16,
        rows: 4 + random.below(8) as u16,
    };
    let mut events = vec![Event::Resize(size(&mut random))];
    for _ in 0..6 {
        let output = (0..60)
            .map(|_| random_piece(&mut random, &ingredients))
            .collect::<String>();
        events.push(Event::Output(output.into_bytes()));
        if ingredients.resizes && random.below(2) == 0 {
            events.push(Event::Resize(size(&mut random)));
        }
    }
    events
}

fn random_piece(random: &mut Random, ingredients: &Ingredients) -> String {
    match random.below(24) {
        0..=9 => random.pick(ingredients.text).to_owned(),
        10..=13 => random.pick(CONTROLS).to_owned(),
        14 => format!("\x1b{}", random.pick(ingredients.escapes)),
        15..=16 => format!("\x1b[{}m", random.pick(ingredients.colors)),
        17 => format!(
            "\x1b[{}{}",
            random.pick(ingredients.modes),
            random.pick(&["h", "l"])
        ),
        18 => random.pick(ingredients.strings).to_owned(),
        _ => {
            let last = random.pick(ingredients.finals);
            let (prefix, last) = last
                .strip_prefix('?')
                .map_or(("", last), |last| ("?", last));
            let parameters = match random.below(4) {
                0 => String::new(),
                1 => format!("{}", random.below(12)),
                _ => format!("{};{}", random.below(12), random.below(24)),
            };
            format!("\x1b[{prefix}{parameters}{last}")
        }
    }
}
