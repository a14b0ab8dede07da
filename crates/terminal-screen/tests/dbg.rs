#[path = "recordings/mod.rs"]
mod recordings;
use recordings::*;
#[test]
fn dbg() {
    let ev: usize = std::env::var("EV").unwrap().parse().unwrap();
    let by: usize = std::env::var("BY").unwrap().parse().unwrap();
    let n = std::env::var("NAME").unwrap();
    let events = if let Some(s) = n.strip_prefix("seed-") {
        random_session(s.parse().unwrap())
    } else {
        recorded()
            .unwrap()
            .into_iter()
            .find(|x| x.0 == n)
            .unwrap()
            .1
    };
    let mut s = terminal_screen::Screen::new(
        terminal_screen::Size {
            columns: 80,
            rows: 24,
        },
        std::env::var("SB")
            .map(|x| x.parse().unwrap())
            .unwrap_or(40),
    );
    for (i, e) in events.iter().enumerate() {
        if i > ev {
            break;
        }
        match e {
            Event::Resize(z) => {
                println!("RESIZE {z:?}");
                s.resize(*z)
            }
            Event::Output(b) => {
                let b = if i == ev { &b[..by] } else { &b[..] };
                println!("{:?}", String::from_utf8_lossy(b));
                let _ = s.feed(b);
            }
        }
    }
    println!("SCREEN {:#?}", s.visible_text());
    println!("REPAINT {:?}", String::from_utf8_lossy(&s.repaint().bytes));
}
