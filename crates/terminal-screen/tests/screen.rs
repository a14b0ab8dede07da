//! What callers of a screen rely on.

use terminal_screen::{DEFAULT_SCROLLBACK, Screen, Size, TAIL_LIMIT};

const SIZE: Size = Size {
    columns: 20,
    rows: 4,
};

fn screen(output: &str) -> Screen {
    let mut screen = Screen::new(SIZE, DEFAULT_SCROLLBACK);
    let _replies = screen.feed(output.as_bytes());
    screen
}

/// The repaint without the reset it begins with, which ends by restoring the cursor's colour.
fn painted(screen: &Screen) -> String {
    let text = String::from_utf8_lossy(&screen.repaint().bytes).into_owned();
    text.split_once("\x1b]112\x07")
        .map(|(_, painted)| painted.to_owned())
        .unwrap_or_default()
}

#[test]
fn text_and_title_are_there_to_read() {
    let screen = screen("\x1b]0;make\x07one\r\n  \x1b[31mtwo\x1b[0m 中文\r\n");
    assert_eq!(screen.visible_text(), ["one", "  two 中文", "", ""]);
    assert_eq!(screen.title(), Some("make"));
    assert!(!screen.is_alternate());
}

#[test]
fn the_alternate_screen_goes_and_comes() {
    let mut screen = screen("shell\x1b[?1049h\x1b[Heditor");
    assert!(screen.is_alternate());
    assert_eq!(screen.visible_text()[0], "editor");
    let _replies = screen.feed(b"\x1b[?1049l");
    assert_eq!(screen.visible_text()[0], "shell");
}

#[test]
fn queries_are_answered_like_the_browser_does() {
    let mut screen = screen("ab");
    assert_eq!(
        screen.feed(b"\x1b[c\x1b[6n\x1b[?25$p"),
        b"\x1b[?1;2c\x1b[1;3R\x1b[?25;1$y"
    );
    assert_eq!(screen.feed(b"\x1bP$qr\x1b\\"), b"\x1bP1$r1;4r\x1b\\");
    assert_eq!(screen.feed(b"plain"), b"");
}

#[test]
fn history_is_painted_before_the_screen_and_the_cursor_last() {
    let painted = painted(&screen("one\r\ntwo\r\nthree\r\nfour\r\nfive\x1b[2;3H"));
    assert_eq!(
        painted.trim_end_matches("\x1b[0m"),
        "one\r\ntwo\r\nthree\r\nfour\r\nfive\x1b[2;3H"
    );
}

#[test]
fn a_soft_wrap_comes_about_by_printing_on() {
    let painted = painted(&screen("0123456789abcdefghijklm"));
    assert!(
        painted.contains("0123456789abcdefghijklm\r\n"),
        "{painted:?}"
    );
}

#[test]
fn the_pen_comes_after_the_modes_and_before_an_unfinished_sequence() {
    let painted = painted(&screen("\x1b[?2004h\x1b[1;31mred\x1b[3"));
    let (modes, pen) = (
        painted.find("\x1b[?2004h").unwrap(),
        painted.rfind("\x1b[0;1;31m").unwrap(),
    );
    assert!(modes < pen, "{painted:?}");
    assert!(painted.ends_with("\x1b[3"), "{painted:?}");
}

#[test]
fn a_control_character_inside_an_unfinished_sequence_is_not_repeated() {
    let painted = painted(&screen("\x1b[3\n1"));
    assert!(painted.ends_with("\x1b[31"), "{painted:?}");
}

#[test]
fn half_a_character_waits_for_the_other() {
    let mut screen = Screen::new(SIZE, 10);
    let _replies = screen.feed(&"é".as_bytes()[..1]);
    assert!(screen.repaint().bytes.ends_with(&"é".as_bytes()[..1]));
    let _replies = screen.feed(&"é".as_bytes()[1..]);
    assert_eq!(screen.visible_text()[0], "é");
}

#[test]
fn a_pending_wrap_survives() {
    let painted = painted(&screen("01234567890123456789"));
    assert!(
        painted.contains("\x1b[1;20H") && painted.ends_with('9'),
        "{painted:?}"
    );
}

#[test]
fn short_drops_are_replayed_and_long_ones_are_not() {
    let mut screen = screen("one ");
    let offset = screen.offset();
    let _replies = screen.feed(b"two");
    assert_eq!(
        screen.since(offset, SIZE, usize::MAX).as_deref(),
        Some(&b"two"[..])
    );
    assert_eq!(
        screen.since(screen.offset() + 1, SIZE, usize::MAX),
        None,
        "from the future"
    );
    assert_eq!(
        screen.since(
            offset,
            Size {
                columns: 21,
                rows: 4
            },
            usize::MAX
        ),
        None,
        "another size"
    );
    screen.resize(Size {
        columns: 30,
        rows: 4,
    });
    assert_eq!(
        screen.since(offset, screen.size(), usize::MAX),
        None,
        "resized meanwhile"
    );
    let offset = screen.offset();
    let _replies = screen.feed(&vec![b'.'; TAIL_LIMIT + 1]);
    assert_eq!(
        screen.since(offset, screen.size(), usize::MAX),
        None,
        "no longer held"
    );
    assert_eq!(screen.repaint().offset, screen.offset());
}

#[test]
fn sizes_are_at_least_what_the_browser_allows() {
    let mut screen = screen("text");
    screen.resize(Size {
        columns: 0,
        rows: 0,
    });
    assert_eq!(
        screen.size(),
        Size {
            columns: 2,
            rows: 1
        }
    );
}

#[test]
fn a_repaint_with_little_room_leaves_out_the_oldest_history() {
    let size = Size {
        columns: 80,
        rows: 24,
    };
    let mut screen = Screen::new(size, 1000);
    for number in 0..2000 {
        let _ = screen.feed(
            format!(
                "\x1b[3{}mline {number} {}\r\n",
                number % 8,
                "x".repeat(number % 100)
            )
            .as_bytes(),
        );
    }
    let whole = screen.repaint();
    let part = screen.repaint_within(20_000);
    assert!(
        whole.bytes.len() > 20_000 && part.bytes.len() <= 20_000,
        "{}",
        part.bytes.len()
    );
    assert!(part.bytes.len() > 5_000);
    let mut again = Screen::new(size, 1000);
    let _ = again.feed(&part.bytes);
    assert_eq!(again.visible_text(), screen.visible_text());
    assert_eq!(screen.repaint_within(usize::MAX), whole);
}
