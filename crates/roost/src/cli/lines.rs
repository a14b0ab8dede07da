//! Answers that are one JSON document a line, and how far something is.

use std::marker::PhantomData;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::Output;

/// Of one answer.
pub struct Lines<T> {
    answer: Response,
    rest: Vec<u8>,
    bar: ProgressBar,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub fn new(answer: Response, output: Output) -> anyhow::Result<Self> {
        Ok(Self {
            answer,
            rest: Vec::new(),
            bar: bar(Some(0), output)?,
            of: PhantomData,
        })
    }

    /// The next document; `None` at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<T>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self
                .answer
                .chunk()
                .await
                .context("the answer broke off: try again")?
            {
                Some(piece) => self.rest.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }

    pub fn progress(&self, done: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    /// Nothing of it is left on the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows bytes of how many, where that is known.
pub fn bar(length: Option<u64>, output: Output) -> anyhow::Result<ProgressBar> {
    if output.json {
        return Ok(ProgressBar::hidden());
    }
    Ok(match length {
        Some(length) => ProgressBar::new(length).with_style(ProgressStyle::with_template(
            "{bar:30} {bytes} of {total_bytes}, {eta} left",
        )?),
        None => ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("{spinner} {bytes}")?),
    })
}
