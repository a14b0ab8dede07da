//! Random bytes, cut and resized at random, never panic and never take more memory than the screen may.

#[allow(dead_code)] // the differential tests use the rest
mod recordings;

use recordings::{Event, Random, recorded};
use terminal_screen::{Screen, Size};

/// Bytes likely to form sequences, with arbitrary ones between.
fn random_bytes(random: &mut Random, length: usize) -> Vec<u8> {
    const LIKELY: &[u8] = b"\x1b\x1b\x1b[[[]P_X^();;;:?>0123456789 !\"'$hlmHJKLMPSTX@rstub\\\x07\x18\x1a\r\n\t\x08\x0e";
    let byte = |random: &mut Random| match random.below(8) {
        0 => random.below(256) as u8,
        _ => LIKELY[random.below(LIKELY.len() as u64) as usize],
    };
    (0..length).map(|_| byte(random)).collect()
}

#[test]
fn any_bytes_at_any_size_are_taken() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut screen = Screen::new(
            Size {
                columns: 80,
                rows: 24,
            },
            random.below(60) as usize,
        );
        for _ in 0..40 {
            let length = random.below(400) as usize;
            let bytes = random_bytes(&mut random, length);
            let _replies = screen.feed(&bytes);
            if random.below(3) == 0 {
                let (columns, rows) = (random.below(60) as u16, random.below(30) as u16);
                screen.resize(Size { columns, rows });
            }
            let repaint = screen.repaint();
            assert_eq!(repaint.size, screen.size(), "seed {seed}");
        }
    }
}

/// A repainted screen that is repainted again gives the same bytes: nothing is lost or added on the way.
#[test]
fn a_repaint_of_a_repaint_is_the_same() -> anyhow::Result<()> {
    for (name, events) in recorded()? {
        let mut screen = Screen::new(
            Size {
                columns: 80,
                rows: 24,
            },
            100,
        );
        for event in &events {
            match event {
                Event::Resize(size) => screen.resize(*size),
                Event::Output(bytes) => drop(screen.feed(bytes)),
            }
        }
        let first = screen.repaint();
        let mut second = Screen::new(first.size, 100);
        let _replies = second.feed(&first.bytes);
        assert_eq!(second.visible_text(), screen.visible_text(), "{name}");
        let again = second.repaint();
        assert_eq!(
            String::from_utf8_lossy(&again.bytes),
            String::from_utf8_lossy(&first.bytes),
            "{name}"
        );
    }
    Ok(())
}

/// Huge parameters, endless sequences and heaps of combining characters cost no more than a full screen.
#[test]
fn hostile_output_is_bounded() {
    let mut screen = Screen::new(
        Size {
            columns: 80,
            rows: 24,
        },
        100,
    );
    for hostile in [
        "a\x1b[2147483647b",
        "\x1b[2147483647S\x1b[2147483647T\x1b[2147483647L\x1b[2147483647M\x1b[2147483647@\x1b[2147483647P",
        "\x1b[2147483647;2147483647H\x1b[2147483647A\x1b[2147483647B\x1b[2147483647C\x1b[2147483647X",
        "\x1b[2147483647I\x1b[2147483647Z\x1b[2147483647'}\x1b[2147483647 @\x1b[99999999999999999999m",
    ] {
        let _replies = screen.feed(hostile.as_bytes());
    }
    let _replies = screen.feed(b"\x1b]2;");
    for _ in 0..1000 {
        let _replies = screen.feed(&[b'x'; 4096]);
    }
    assert!(screen.repaint().bytes.len() < 1024 * 1024);
    let _replies = screen.feed(b"\x07\x1b[H\x1b[2Je");
    for _ in 0..100_000 {
        let _replies = screen.feed("\u{301}".as_bytes());
    }
    assert!(screen.repaint().bytes.len() < 1024 * 1024);
    for page in 0..2 {
        for link in 0..80 * 24 {
            let uri = "u".repeat(4000);
            let _replies =
                screen.feed(format!("\x1b]8;;https://{page}.{link}/{uri}\x07x").as_bytes());
        }
    }
    assert!(screen.repaint().bytes.len() < 8 * 1024 * 1024);
}
