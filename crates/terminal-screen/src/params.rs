//! Parameters of a control sequence, with their sub-parameters (`4:3`), limits as in xterm.js.

const LIMIT: usize = 32;

#[derive(Debug)]
pub(crate) struct Params {
    values: Vec<i32>,
    /// Where each parameter's sub-parameters end in `subs`.
    sub_ends: Vec<usize>,
    subs: Vec<i32>,
    reject_digits: bool,
    reject_sub_digits: bool,
    digit_is_sub: bool,
}

impl Params {
    /// One parameter, zero: what a sequence without parameters has.
    pub fn new() -> Params {
        let (values, sub_ends) = (vec![0], vec![0]);
        Params {
            values,
            sub_ends,
            subs: Vec::new(),
            reject_digits: false,
            reject_sub_digits: false,
            digit_is_sub: false,
        }
    }

    pub fn reset(&mut self) {
        self.values.clear();
        self.values.push(0);
        self.sub_ends.clear();
        self.sub_ends.push(0);
        self.subs.clear();
        self.reject_digits = false;
        self.reject_sub_digits = false;
        self.digit_is_sub = false;
    }

    /// Takes a digit, `;` or `:`.
    pub fn push(&mut self, code: u32) {
        match code {
            0x3B => self.next_parameter(),
            0x3A => self.next_sub_parameter(),
            digit => self.digit(i64::from(digit) - 0x30),
        }
    }

    fn next_parameter(&mut self) {
        self.digit_is_sub = false;
        if self.values.len() >= LIMIT {
            self.reject_digits = true;
            return;
        }
        self.values.push(0);
        self.sub_ends.push(self.subs.len());
    }

    fn next_sub_parameter(&mut self) {
        self.digit_is_sub = true;
        if self.reject_digits || self.subs.len() >= LIMIT {
            self.reject_sub_digits = true;
            return;
        }
        self.subs.push(-1);
        if let Some(end) = self.sub_ends.last_mut() {
            *end += 1;
        }
    }

    fn digit(&mut self, digit: i64) {
        if self.reject_digits || (self.digit_is_sub && self.reject_sub_digits) {
            return;
        }
        let store = if self.digit_is_sub {
            &mut self.subs
        } else {
            &mut self.values
        };
        let Some(value) = store.last_mut() else {
            return;
        };
        let wide = if *value == -1 {
            digit
        } else {
            i64::from(*value) * 10 + digit
        };
        *value = i32::try_from(wide).unwrap_or(i32::MAX);
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn values(&self) -> &[i32] {
        &self.values
    }

    /// The parameter, 0 when absent.
    pub fn get(&self, index: usize) -> i32 {
        self.values.get(index).copied().unwrap_or(0)
    }

    /// The parameter as a count: absent and zero mean one.
    pub fn count(&self, index: usize) -> i32 {
        self.get(index).max(1)
    }

    pub fn subs(&self, index: usize) -> &[i32] {
        let start = if index == 0 {
            0
        } else {
            self.sub_ends.get(index - 1).copied().unwrap_or(0)
        };
        let end = self.sub_ends.get(index).copied().unwrap_or(start);
        &self.subs[start..end]
    }
}
