//! The national and line-drawing character sets that `ESC ( …` designates.

/// A designated set, named by the final byte of its designation. `B` is plain ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Charset(pub u8);

pub(crate) const ASCII: Charset = Charset(b'B');

impl Charset {
    /// The set a designation names, when the browser knows it.
    pub fn designated(last: u8) -> Option<Charset> {
        let canonical = match last {
            b'5' => b'C',
            b'6' => b'E',
            b'7' => b'H',
            other => other,
        };
        (canonical == b'B' || table(canonical).is_some()).then_some(Charset(canonical))
    }

    /// What printing `code` shows in this set.
    pub fn translate(self, code: u32) -> u32 {
        if self == ASCII || code >= 127 {
            return code;
        }
        let Some((from, to)) = table(self.0) else {
            return code;
        };
        let position = from.bytes().position(|byte| u32::from(byte) == code);
        position
            .and_then(|at| to.chars().nth(at))
            .map_or(code, u32::from)
    }
}

fn table(last: u8) -> Option<(&'static str, &'static str)> {
    Some(match last {
        b'0' => (
            "`abcdefghijklmnopqrstuvwxyz{|}~",
            "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·",
        ),
        b'A' => ("#", "£"),
        b'4' => ("#@[\\]{|}~", "£¾i½|¨f¼´"),
        b'C' => ("[\\]^`{|}~", "ÄÖÅÜéäöåü"),
        b'R' => ("#@[\\]{|}~", "£à°ç§éùè¨"),
        b'Q' => ("@[\\]^`{|}~", "àâçêîôéùèû"),
        b'K' => ("@[\\]{|}~", "§ÄÖÜäöüß"),
        b'Y' => ("#@[\\]`{|}~", "£§°çéùàòèì"),
        b'E' => ("@[\\]^`{|}~", "ÄÆØÅÜäæøåü"),
        b'Z' => ("#@[\\]{|}", "£§¡Ñ¿°ñç"),
        b'H' => ("@[\\]^`{|}~", "ÉÄÖÅÜéäöåü"),
        b'=' => ("#@[\\]^_`{|}~", "ùàéçêîèôäöüû"),
        _ => return None,
    })
}

/// G0 to G3 and which of them is in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Charsets {
    /// Only as many as were designated: restoring a cursor touches no more than those.
    pub sets: Vec<Charset>,
    pub level: usize,
}

impl Charsets {
    pub fn current(&self) -> Charset {
        self.get(self.level)
    }

    pub fn get(&self, level: usize) -> Charset {
        self.sets.get(level).copied().unwrap_or(ASCII)
    }

    pub fn designate(&mut self, level: usize, set: Charset) {
        if self.sets.len() <= level {
            self.sets.resize(level + 1, ASCII);
        }
        self.sets[level] = set;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_pairs_its_characters() {
        for last in *b"0A4CRQKYEZH=" {
            let (from, to) = table(last).unwrap();
            assert_eq!(from.len(), to.chars().count(), "set {}", last as char);
        }
        assert_eq!(Charset(b'0').translate(u32::from(b'q')), u32::from('─'));
    }
}
