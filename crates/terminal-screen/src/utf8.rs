//! UTF-8 as the browser decodes it: broken sequences and byte-order marks vanish, nothing is replaced.

/// Decoder that keeps an unfinished character between calls.
#[derive(Default, Debug)]
pub(crate) struct Decoder {
    partial: [u8; 4],
    have: usize,
    need: usize,
}

impl Decoder {
    /// The bytes of the unfinished character.
    pub fn partial(&self) -> &[u8] {
        &self.partial[..self.have]
    }

    pub fn decode(&mut self, bytes: &[u8], mut each: impl FnMut(u32)) {
        for &byte in bytes {
            if self.have > 0 {
                if byte & 0xC0 == 0x80 {
                    self.partial[self.have] = byte;
                    self.have += 1;
                    if self.have == self.need {
                        self.have = 0;
                        if let Some(code) = finish(&self.partial[..self.need]) {
                            each(code);
                        }
                    }
                    continue;
                }
                self.have = 0;
            }
            self.need = match byte {
                0..0x80 => {
                    each(u32::from(byte));
                    continue;
                }
                0xC0..0xE0 => 2,
                0xE0..0xF0 => 3,
                0xF0..0xF8 => 4,
                _ => continue,
            };
            self.partial[0] = byte;
            self.have = 1;
        }
    }
}

fn finish(bytes: &[u8]) -> Option<u32> {
    let lead = u32::from(bytes[0]) & (0xFF >> (bytes.len() + 1));
    let code = bytes[1..]
        .iter()
        .fold(lead, |code, &byte| code << 6 | u32::from(byte & 0x3F));
    let shortest = [0x80, 0x800, 0x1_0000][bytes.len() - 2];
    let valid = code >= shortest && code != 0xFEFF && char::from_u32(code).is_some();
    valid.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::Decoder;

    fn decode(chunks: &[&[u8]]) -> Vec<u32> {
        let mut decoder = Decoder::default();
        let mut codes = Vec::new();
        for chunk in chunks {
            decoder.decode(chunk, |code| codes.push(code));
        }
        codes
    }

    #[test]
    fn characters_survive_any_cut() {
        let text = "aé中😀z".as_bytes();
        for cut in 0..text.len() {
            assert_eq!(
                decode(&[&text[..cut], &text[cut..]]),
                [0x61, 0xE9, 0x4E2D, 0x1F600, 0x7A]
            );
        }
    }

    #[test]
    fn broken_sequences_vanish() {
        assert_eq!(
            decode(&[b"\xC3a\xFF\x80b\xED\xA0\x80\xEF\xBB\xBFc\xC0\x80"]),
            [0x61, 0x62, 0x63]
        );
    }
}
