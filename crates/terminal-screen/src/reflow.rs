//! Wrapped lines follow a change of width, step for step as in xterm.js.

use std::collections::VecDeque;

use crate::buffer::Buffer;
use crate::cell::Attributes;
use crate::line::Line;

/// Joins wrapped lines into wider ones. The cursor's own line is left to the shell, which redraws it.
pub(crate) fn larger(buffer: &mut Buffer, old_cols: usize, new_rows: usize) {
    let new_cols = buffer.cols;
    let cursor = buffer.index(buffer.y);
    let mut removed = vec![false; buffer.lines.len()];
    let mut y = 0;
    while y + 1 < buffer.lines.len() {
        let end = group_end(&buffer.lines, y);
        if end > y + 1 && !(y..end).contains(&cursor) {
            let count = join_group(&mut buffer.lines, y, end, old_cols, new_cols);
            removed[end - count..end].fill(true);
        }
        y = end;
    }
    let count = removed.iter().filter(|gone| **gone).count();
    if count == 0 {
        return;
    }
    let mut index = 0;
    buffer.lines.retain(|_| {
        index += 1;
        !removed[index - 1]
    });
    for _ in 0..count {
        if buffer.ybase > 0 {
            buffer.ybase -= 1;
            continue;
        }
        buffer.y = (buffer.y - 1).max(0);
        if buffer.lines.len() < new_rows {
            buffer
                .lines
                .push_back(Line::blank(new_cols, &Attributes::default(), false));
        }
    }
    buffer.saved.y = (buffer.saved.y - count as i32).max(0);
}

/// Where the lines end that continue line `start`.
fn group_end(lines: &VecDeque<Line>, start: usize) -> usize {
    let mut end = start + 1;
    while lines.get(end).is_some_and(|line| line.wrapped) {
        end += 1;
    }
    end
}

/// Fills each line of the group from the next ones; answers how many at its end are left empty.
fn join_group(
    lines: &mut VecDeque<Line>,
    start: usize,
    end: usize,
    old_cols: usize,
    new_cols: usize,
) -> usize {
    let null = Attributes::default();
    let size = end - start;
    let (mut to, mut to_x) = (0, wrapped_length(lines, start, 0, size, old_cols));
    let (mut from, mut from_x) = (1, 0);
    while from < size {
        let length = wrapped_length(lines, start, from, size, old_cols);
        let count = length
            .saturating_sub(from_x)
            .min(new_cols.saturating_sub(to_x));
        copy_cells(lines, (start + from, from_x), (start + to, to_x), count);
        to_x += count;
        if to_x == new_cols {
            to += 1;
            to_x = 0;
        }
        from_x += count;
        if from_x >= length {
            from += 1;
            from_x = 0;
        }
        // A wide character does not end half beyond the edge.
        if to_x == 0 && to != 0 && lines[start + to - 1].width(new_cols - 1) == 2 {
            copy_cells(lines, (start + to - 1, new_cols - 1), (start + to, 0), 1);
            to_x = 1;
            lines[start + to - 1].set(new_cols - 1, 0, 1, &null);
        }
    }
    if let Some(line) = lines.get_mut(start + to) {
        line.replace(to_x, new_cols, &null, false);
    }
    let emptied = (1..size)
        .rev()
        .take_while(|&i| i > to || lines[start + i].trimmed_length() == 0);
    emptied.count()
}

fn copy_cells(lines: &mut VecDeque<Line>, from: (usize, usize), to: (usize, usize), count: usize) {
    let copied = lines[from.0].copy(from.1, count);
    if let Some(line) = lines.get_mut(to.0) {
        line.paste(to.1, copied);
    }
}

/// Columns of a wrapped line that belong to its text: all of them but a last one left free by a wide character.
fn wrapped_length(
    lines: &VecDeque<Line>,
    start: usize,
    index: usize,
    size: usize,
    cols: usize,
) -> usize {
    let line = &lines[start + index];
    if index + 1 >= size {
        return line.trimmed_length();
    }
    let ends_in_null = !line.has_content(cols - 1) && line.width(cols - 1) == 1;
    if ends_in_null && lines[start + index + 1].width(0) == 2 {
        cols - 1
    } else {
        cols
    }
}

/// Breaks lines that became too long.
pub(crate) fn smaller(buffer: &mut Buffer, old_cols: usize, new_rows: usize) {
    let new_cols = buffer.cols;
    let mut inserts: Vec<(usize, usize)> = Vec::new(); // index in the old lines, how many lines go before it
    let mut inserted_lines: Vec<Vec<Line>> = Vec::new();
    let mut total = 0;
    let mut y = buffer.lines.len();
    while y > 0 {
        y -= 1;
        // Groups below may have pushed lines off the bottom.
        let Some(line) = buffer.lines.get(y) else {
            continue;
        };
        if !line.wrapped && line.trimmed_length() <= new_cols {
            continue;
        }
        let end = y + 1;
        while buffer.lines[y].wrapped && y > 0 {
            y -= 1;
        }
        if (y..end).contains(&buffer.index(buffer.y)) {
            continue;
        }
        let lengths = broken_lengths(&buffer.lines, y, end, old_cols, new_cols);
        let added = lengths.len().saturating_sub(end - y);
        let trimmed = if buffer.ybase == 0 && buffer.y != buffer.lines.len() as i32 - 1 {
            (buffer.y as usize + added).saturating_sub(buffer.max_length)
        } else {
            (buffer.lines.len() + added).saturating_sub(buffer.max_length)
        };
        let new_lines = break_group(&mut buffer.lines, y, end, &lengths, old_cols, new_cols);
        if added > 0 {
            inserts.push((end, added));
            inserted_lines.push(new_lines);
            total += added;
        }
        for _ in 0..added.saturating_sub(trimmed) {
            if buffer.ybase == 0 {
                if buffer.y < new_rows as i32 - 1 {
                    buffer.y += 1;
                    buffer.lines.pop_back();
                } else {
                    buffer.ybase += 1;
                }
            } else if buffer.ybase + new_rows < buffer.max_length.min(buffer.lines.len() + total) {
                buffer.ybase += 1;
            }
        }
        buffer.saved.y =
            (buffer.saved.y + added as i32).min(buffer.ybase as i32 + new_rows as i32 - 1);
    }
    insert_lines(buffer, &inserts, inserted_lines, total);
}

fn insert_lines(
    buffer: &mut Buffer,
    inserts: &[(usize, usize)],
    inserted: Vec<Vec<Line>>,
    total: usize,
) {
    if total == 0 {
        return;
    }
    // Both were collected from the bottom up.
    let mut pending = inserts
        .iter()
        .map(|(at, _)| *at)
        .zip(inserted)
        .rev()
        .peekable();
    let old = std::mem::take(&mut buffer.lines);
    let mut lines = VecDeque::with_capacity(old.len() + total);
    for (index, line) in old.into_iter().enumerate() {
        if let Some((_, new)) = pending.next_if(|(at, _)| *at == index) {
            lines.extend(new);
        }
        lines.push_back(line);
    }
    for (_, new) in pending {
        lines.extend(new);
    }
    let surplus = lines.len().saturating_sub(buffer.max_length);
    lines.drain(..surplus);
    buffer.lines = lines;
}

/// Lengths of the lines that the group's text needs at the new width.
fn broken_lengths(
    lines: &VecDeque<Line>,
    start: usize,
    end: usize,
    old_cols: usize,
    new_cols: usize,
) -> Vec<usize> {
    let size = end - start;
    let needed: usize = (0..size)
        .map(|i| wrapped_length(lines, start, i, size, old_cols))
        .sum();
    let mut lengths = Vec::new();
    let (mut x, mut index, mut available) = (0, 0, 0);
    while available < needed {
        if needed - available < new_cols {
            lengths.push(needed - available);
            break;
        }
        x += new_cols;
        let length = wrapped_length(lines, start, index.min(size - 1), size, old_cols);
        if x > length {
            x -= length;
            index += 1;
        }
        let line = &lines[start + index.min(size - 1)];
        let ends_with_wide = x > 0 && line.width(x - 1) == 2;
        if ends_with_wide {
            x -= 1;
        }
        let length = if ends_with_wide {
            new_cols - 1
        } else {
            new_cols
        };
        lengths.push(length);
        available += length;
    }
    lengths
}

/// Spreads the group's text, from its end, over its old lines and the new ones that are returned.
fn break_group(
    lines: &mut VecDeque<Line>,
    start: usize,
    end: usize,
    lengths: &[usize],
    old_cols: usize,
    new_cols: usize,
) -> Vec<Line> {
    let null = Attributes::default();
    let mut group: VecDeque<Line> = (start..end).map(|i| lines[i].clone()).collect();
    let old_size = group.len();
    group.extend((old_size..lengths.len()).map(|_| Line::blank(new_cols, &null, true)));
    let size = group.len();
    if let Some((mut to, mut to_x)) = lengths.iter().copied().enumerate().next_back() {
        let mut from = old_size - 1;
        let mut from_x = group[from].trimmed_length();
        loop {
            if to_x == 0 {
                if to == 0 {
                    break;
                }
                to -= 1;
                to_x = lengths[to];
            }
            let count = from_x.min(to_x);
            copy_cells(
                &mut group,
                (from, from_x - count),
                (to, to_x - count),
                count,
            );
            to_x -= count;
            from_x -= count;
            if from_x == 0 {
                if from == 0 {
                    break;
                }
                from -= 1;
                from_x = wrapped_length(&group, 0, from, size, old_cols);
            }
            if to_x == 0 && to == 0 {
                break;
            }
        }
    }
    for (line, &length) in group.iter_mut().zip(lengths) {
        if length < new_cols {
            line.set(length, 0, 1, &null);
        }
    }
    let new_lines = group.split_off(old_size);
    for (index, line) in (start..end).zip(group) {
        lines[index] = line;
    }
    new_lines.into()
}
