//! The escape-sequence state machine of xterm.js, which also remembers the bytes of a sequence not yet complete.
//!
//! A repaint taken in the middle of a sequence ends with those bytes, so that the rest of the sequence, when it
//! comes, means to the repainted terminal what it means to one that saw the beginning.

use crate::params::Params;

/// Longest unfinished sequence that is kept, and longest text of OSC and DCS that is looked at, in bytes. A longer
/// one (an inline image, a large clipboard) is consumed without effect.
pub(crate) const STRING_LIMIT: usize = 8 * 1024;

/// What a parser drives.
pub(crate) trait Actions {
    fn print(&mut self, codes: &[u32]);
    fn execute(&mut self, code: u32);
    fn csi(&mut self, collected: u32, last: u8, params: &Params);
    fn esc(&mut self, collected: u32, last: u8);
    fn osc(&mut self, text: &str);
    fn dcs(&mut self, collected: u32, last: u8, text: &str);
    /// Something came between two printed characters: the next one joins nothing.
    fn interrupted(&mut self);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ground,
    Escape,
    EscapeIntermediate,
    CsiEntry,
    CsiParam,
    CsiIntermediate,
    CsiIgnore,
    SosPm,
    Osc,
    DcsEntry,
    DcsParam,
    DcsIgnore,
    DcsIntermediate,
    DcsPassthrough,
    ApcEntry,
    ApcIntermediate,
    ApcPassthrough,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Ignore,
    Execute,
    Clear,
    Collect,
    Param,
    CsiDispatch,
    EscDispatch,
    StringStart,
    StringPut,
    OscEnd,
    DcsHook,
    DcsEnd,
    ApcEnd,
}

pub(crate) struct Parser {
    state: State,
    params: Params,
    collected: u32,
    text: String,
    hook: (u32, u8),
    /// The sequence being read, without the control characters that were executed on the way.
    pending: Vec<u8>,
    run: Vec<u32>,
}

impl Parser {
    pub fn new() -> Parser {
        Parser {
            state: State::Ground,
            params: Params::new(),
            collected: 0,
            text: String::new(),
            hook: (0, 0),
            pending: Vec::new(),
            run: Vec::new(),
        }
    }

    /// Bytes that bring a fresh parser to where this one is.
    pub fn pending(&self) -> Vec<u8> {
        if self.pending.len() < STRING_LIMIT {
            return self.pending.clone();
        }
        // The beginning of a sequence of the same kind that nobody acts on.
        let inert: &[u8] = match self.state {
            State::Osc => b"\x1b]99999;",
            State::DcsPassthrough | State::DcsParam | State::DcsIgnore => b"\x1bP0?",
            State::DcsEntry | State::DcsIntermediate => b"\x1bP0?",
            State::ApcEntry | State::ApcIntermediate | State::ApcPassthrough => b"\x1b_z",
            State::SosPm => b"\x1bX",
            _ => b"\x1b[0?",
        };
        inert.to_vec()
    }

    pub fn advance(&mut self, codes: &[u32], actions: &mut impl Actions) {
        let mut at = 0;
        while at < codes.len() {
            if self.state == State::Ground && is_printable(codes[at]) {
                let length = codes[at..]
                    .iter()
                    .take_while(|code| is_printable(**code))
                    .count();
                actions.print(&codes[at..at + length]);
                at += length;
                continue;
            }
            self.step(codes[at], actions);
            at += 1;
        }
    }

    /// Decodes and advances; the buffer between is reused.
    pub fn feed(
        &mut self,
        decoder: &mut crate::utf8::Decoder,
        bytes: &[u8],
        actions: &mut impl Actions,
    ) {
        let mut run = std::mem::take(&mut self.run);
        for piece in bytes.chunks(4096) {
            run.clear();
            decoder.decode(piece, |code| run.push(code));
            self.advance(&run, actions);
        }
        self.run = run;
    }

    fn step(&mut self, code: u32, actions: &mut impl Actions) {
        let (action, next) = transition(self.state, code);
        match action {
            Action::Ignore => {}
            Action::Execute => {
                actions.execute(code);
                actions.interrupted();
            }
            Action::Clear => self.clear(),
            Action::Collect => self.collected = self.collected << 8 | code,
            Action::Param => self.params.push(code),
            Action::CsiDispatch => {
                actions.csi(self.collected, code as u8, &self.params);
                actions.interrupted();
            }
            Action::EscDispatch => {
                actions.esc(self.collected, code as u8);
                actions.interrupted();
            }
            Action::StringStart => self.text.clear(),
            Action::StringPut => self.put(code),
            Action::OscEnd => {
                if !matches!(code, 0x18 | 0x1A) && self.text.len() < STRING_LIMIT {
                    actions.osc(&self.text);
                }
                self.end_string(actions);
            }
            Action::DcsHook => {
                self.hook = (self.collected, code as u8);
                self.text.clear();
            }
            Action::DcsEnd => {
                if !matches!(code, 0x18 | 0x1A) && self.text.len() < STRING_LIMIT {
                    actions.dcs(self.hook.0, self.hook.1, &self.text);
                }
                self.end_string(actions);
            }
            Action::ApcEnd => self.end_string(actions),
        }
        let ends_string = matches!(action, Action::OscEnd | Action::DcsEnd | Action::ApcEnd);
        self.state = if ends_string && code == 0x1B {
            State::Escape
        } else {
            next
        };
        self.remember(code, action);
    }

    fn clear(&mut self) {
        self.params.reset();
        self.collected = 0;
    }

    fn put(&mut self, code: u32) {
        if self.text.len() < STRING_LIMIT {
            self.text.extend(char::from_u32(code));
        }
    }

    fn end_string(&mut self, actions: &mut impl Actions) {
        self.clear();
        self.text.clear();
        actions.interrupted();
    }

    fn remember(&mut self, code: u32, action: Action) {
        if self.state == State::Ground {
            self.pending.clear();
            self.pending.shrink_to(64);
            self.text.shrink_to(64);
            return;
        }
        if action == Action::Execute {
            return;
        }
        if code == 0x1B || (0x80..0xA0).contains(&code) {
            self.pending.clear(); // a new sequence begins
        }
        if self.pending.len() < STRING_LIMIT {
            let mut buffer = [0; 4];
            if let Some(character) = char::from_u32(code) {
                self.pending
                    .extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
}

fn is_printable(code: u32) -> bool {
    (0x20..0x7F).contains(&code) || code >= 0xA0
}

/// The transition table of xterm.js. What it treats as an error returns to ground without any action.
fn transition(state: State, code: u32) -> (Action, State) {
    use Action::*;
    match (state, code) {
        (State::Osc, 0x07 | 0x18 | 0x1A | 0x1B | 0x9C) => return (OscEnd, State::Ground),
        (State::DcsPassthrough, 0x18 | 0x1A | 0x1B | 0x9C) => return (DcsEnd, State::Ground),
        (State::ApcPassthrough, 0x18 | 0x1A | 0x1B | 0x9C) => return (ApcEnd, State::Ground),
        _ => {}
    }
    match code {
        0x18 | 0x1A | 0x80..0x90 | 0x91..0x98 | 0x99 | 0x9A => return (Execute, State::Ground),
        0x1B => return (Clear, State::Escape),
        0x90 => return (Clear, State::DcsEntry),
        0x98 | 0x9E => return (Ignore, State::SosPm),
        0x9B => return (Clear, State::CsiEntry),
        0x9C => return (Ignore, State::Ground),
        0x9D => return (StringStart, State::Osc),
        0x9F => return (Clear, State::ApcEntry),
        _ => {}
    }
    let control = code < 0x20;
    match state {
        State::Ground if control => (Execute, state),
        State::Ground => (Ignore, state),
        State::Escape => match code {
            0..0x20 => (Execute, state),
            0x20..0x30 => (Collect, State::EscapeIntermediate),
            0x50 => (Clear, State::DcsEntry),
            0x58 | 0x5E => (Ignore, State::SosPm),
            0x5B => (Clear, State::CsiEntry),
            0x5D => (StringStart, State::Osc),
            0x5F => (Clear, State::ApcEntry),
            0x30..0x7F => (EscDispatch, State::Ground),
            0x7F => (Ignore, state),
            _ => (Ignore, State::Ground),
        },
        State::EscapeIntermediate => match code {
            0..0x20 => (Execute, state),
            0x20..0x30 => (Collect, state),
            0x30..0x7F => (EscDispatch, State::Ground),
            0x7F => (Ignore, state),
            _ => (Ignore, State::Ground),
        },
        State::CsiEntry | State::CsiParam => match code {
            0..0x20 => (Execute, state),
            0x20..0x30 => (Collect, State::CsiIntermediate),
            0x30..0x3C => (Param, State::CsiParam),
            0x3C..0x40 if state == State::CsiEntry => (Collect, State::CsiParam),
            0x3C..0x40 => (Ignore, State::CsiIgnore),
            0x40..0x7F => (CsiDispatch, State::Ground),
            0x7F => (Ignore, state),
            _ => (Ignore, State::Ground),
        },
        State::CsiIntermediate => match code {
            0..0x20 => (Execute, state),
            0x20..0x30 => (Collect, state),
            0x30..0x40 => (Ignore, State::CsiIgnore),
            0x40..0x7F => (CsiDispatch, State::Ground),
            0x7F => (Ignore, state),
            _ => (Ignore, State::Ground),
        },
        State::CsiIgnore => match code {
            0..0x20 => (Execute, state),
            0x40..0x7F => (Ignore, State::Ground),
            _ => (Ignore, state),
        },
        State::SosPm if code < 0x80 => (Ignore, state),
        State::SosPm => (Ignore, State::Ground),
        State::Osc if control => (Ignore, state),
        State::Osc => (StringPut, state),
        State::DcsEntry | State::DcsParam => match code {
            0..0x20 | 0x7F => (Ignore, state),
            0x20..0x30 => (Collect, State::DcsIntermediate),
            0x30..0x3C => (Param, State::DcsParam),
            0x3C..0x40 if state == State::DcsEntry => (Collect, State::DcsParam),
            0x3C..0x40 => (Ignore, State::DcsIgnore),
            0x40..0x7F => (DcsHook, State::DcsPassthrough),
            _ => (Ignore, State::Ground),
        },
        State::DcsIntermediate => match code {
            0..0x20 | 0x7F => (Ignore, state),
            0x20..0x30 => (Collect, state),
            0x30..0x40 => (Ignore, State::DcsIgnore),
            0x40..0x7F => (DcsHook, State::DcsPassthrough),
            _ => (Ignore, State::Ground),
        },
        State::DcsIgnore => (Ignore, state),
        State::DcsPassthrough if code == 0x7F => (Ignore, state),
        State::DcsPassthrough => (StringPut, state),
        State::ApcEntry | State::ApcIntermediate => match code {
            0..0x20 | 0x7F => (Ignore, state),
            0x20..0x30 => (Collect, State::ApcIntermediate),
            0x30..0x7F => (Ignore, State::ApcPassthrough),
            _ => (Ignore, State::Ground),
        },
        State::ApcPassthrough => (Ignore, state),
    }
}
