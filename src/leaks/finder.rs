//! The texts to look for, and a search for them in bytes that come in pieces.
//!
//! The texts themselves are compared, from wiped memory, instead of fingerprints: values have many lengths and forms, so
//! fingerprints would need a window for each length, and would tell nothing that this process, which opened the
//! documents, does not hold anyway. A hash of the first eight bytes under a filter passes over almost every place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};

use zeroize::Zeroizing;

use crate::exec::patterns::{self, SHORTEST};
use crate::leaks::telling::{SHORTEST_LINE, is_telling, is_telling_line};
use crate::secret::SecretBytes;

/// How much of a longer text is compared.
pub const LONGEST: usize = 1024;
/// How many lines of a value are looked for by themselves.
const MOST_LINES: usize = 256;
/// How many bytes are searched at a time.
const CHUNK: usize = 256 << 10;

/// A secret that is looked for.
#[derive(Debug)]
pub struct Wanted {
    /// The document that holds it.
    pub document: String,
    /// The keys down to it.
    pub key: String,
    /// Whether it is a comment.
    pub is_comment: bool,
    /// Whether only an earlier version of the document holds it.
    pub is_earlier: bool,
    /// The value.
    pub value: SecretBytes,
}

/// What is looked for, ready to be found.
///
/// # Secrets
/// Values and their forms are plaintext, wiped on drop.
#[derive(Debug)]
pub struct Finder {
    /// The first eight bytes of each pattern, in order; more than one may be equal.
    heads: Zeroizing<Vec<u64>>,
    patterns: Vec<Pattern>,
    filter: Vec<u64>,
    shift: u32,
    values: Vec<Value>,
    wanted: Vec<Wanted>,
    /// How many values each document has that are looked for.
    sizes: HashMap<String, usize>,
}

#[derive(Debug)]
struct Pattern {
    text: SecretBytes,
    value: usize,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole { is_encoded: bool },
    Line { number: usize, is_telling: bool },
}

/// One value, whoever holds it.
#[derive(Debug)]
struct Value {
    /// Indexes into what is wanted.
    owners: Vec<usize>,
    is_telling: bool,
    lines: usize,
}

/// A value that was found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// Who holds it: indexes of [`Finder::wanted`].
    pub owners: Vec<usize>,
    /// Where it first begins, in bytes.
    pub offset: u64,
    /// How often it is there.
    pub count: u64,
    /// Whether it was only there in another form: base64, URL, JSON and so on.
    pub is_encoded: bool,
    /// Whether only lines of it were found.
    pub is_partial: bool,
    /// Whether it may stand there by chance: a word, a host name, a path.
    pub may_be_chance: bool,
}

impl Finder {
    /// Prepares; values shorter than [`SHORTEST`] bytes are left out.
    pub fn new(wanted: Vec<Wanted>) -> Self {
        let mut by_value: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        let mut sizes: HashMap<String, BTreeSet<&[u8]>> = HashMap::new();
        for (index, one) in wanted.iter().enumerate() {
            let value = one.value.expose().trim_ascii();
            if value.len() >= SHORTEST {
                by_value.entry(value).or_default().push(index);
                sizes.entry(one.document.clone()).or_default().insert(value);
            }
        }
        let sizes = sizes.into_iter().map(|(d, v)| (d, v.len())).collect();
        let mut values = Vec::new();
        let mut all = Vec::new();
        for (value, owners) in by_value {
            let is_comment = owners.iter().all(|owner| wanted[*owner].is_comment);
            let index = values.len();
            let lines = add_patterns(value, index, &mut all);
            values.push(Value {
                owners,
                // A comment may stand in a public example as well.
                is_telling: !is_comment && (value.contains(&b'\n') || is_telling(unquoted(value))),
                lines,
            });
        }
        all.retain(|pattern| pattern.text.expose().len() >= SHORTEST);
        all.sort_by(|a, b| a.text.expose().cmp(b.text.expose()));
        all.dedup_by(|a, b| a.text.expose() == b.text.expose() && a.value == b.value);
        let heads: Vec<u64> = all.iter().map(|p| head(p.text.expose())).collect();
        // Some bits a pattern, so that few places pass by chance; small enough to stay in the processor's cache.
        let bits = (all.len() * 32).next_power_of_two().ilog2().clamp(14, 21);
        let mut filter = vec![0_u64; 1 << (bits - 6)];
        let shift = 64 - bits;
        for head in &heads {
            let bit = spread(*head, shift);
            filter[bit >> 6] |= 1 << (bit & 63);
        }
        Self {
            heads: Zeroizing::new(heads),
            patterns: all,
            filter,
            shift,
            values,
            wanted,
            sizes,
        }
    }

    /// Everything that was asked for, in order.
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// How many different values are looked for.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Adds every form of a value and of its lines; how many lines.
fn add_patterns(value: &[u8], index: usize, to: &mut Vec<Pattern>) -> usize {
    let bare = unquoted(value);
    let unescaped = SecretBytes::new(if bare.contains(&b'\\') {
        patterns::unescaped(bare)
    } else {
        Vec::new()
    });
    for whole in [value, bare, unescaped.expose().as_slice()] {
        if whole.len() >= SHORTEST {
            add_forms(whole, index, to, |is_encoded| Part::Whole { is_encoded });
        }
    }
    if !value.contains(&b'\n') {
        return 0;
    }
    let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
    let lines = value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    for line in lines.filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with(b"-----")) {
        if seen.len() < MOST_LINES && seen.insert(line) {
            let part = Part::Line {
                number: seen.len(),
                is_telling: is_telling_line(line),
            };
            add_forms(line, index, to, |_| part);
        }
    }
    seen.len()
}

fn add_forms(text: &[u8], value: usize, to: &mut Vec<Pattern>, part: impl Fn(bool) -> Part) {
    let text = &text[..text.len().min(LONGEST)];
    let mut forms = Vec::new();
    patterns::renderings(text, &mut forms);
    for upper in [false, true] {
        forms.push(hex(text, upper));
    }
    for form in forms {
        let is_encoded = form.expose() != text;
        let form = match form.expose().len() {
            0..=LONGEST => form,
            _ => SecretBytes::from_slice(&form.expose()[..LONGEST]),
        };
        to.push(Pattern {
            text: form,
            value,
            part: part(is_encoded),
        });
    }
}

fn hex(text: &[u8], upper: bool) -> SecretBytes {
    let digits: &[u8; 16] = if upper {
        b"0123456789ABCDEF"
    } else {
        b"0123456789abcdef"
    };
    let mut out = Vec::with_capacity(text.len() * 2);
    for byte in text {
        out.push(digits[usize::from(byte >> 4)]);
        out.push(digits[usize::from(byte & 15)]);
    }
    SecretBytes::new(out)
}

/// Without the quotes around it, which shells and compose take away.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => value,
    }
}

/// The first eight bytes, which the caller has, ordered as bytes are.
fn head(text: &[u8]) -> u64 {
    let mut first = [0; SHORTEST];
    first.copy_from_slice(&text[..SHORTEST]);
    u64::from_be_bytes(first)
}

fn spread(head: u64, shift: u32) -> usize {
    (head.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> shift) as usize
}

/// A search through one text after another.
///
/// # Secrets
/// What was read last is wiped on drop.
#[derive(Debug)]
pub struct Search<'f> {
    finder: &'f Finder,
    buffer: Zeroizing<Vec<u8>>,
    held: usize,
    /// Where in the text the buffer begins.
    base: u64,
    hits: HashMap<usize, Hit>,
    bytes: u64,
}

#[derive(Debug)]
struct Hit {
    first: u64,
    last: u64,
    count: u64,
    whole: bool,
    is_encoded: bool,
    telling_line: bool,
    lines: BTreeSet<usize>,
}

impl<'f> Search<'f> {
    /// A search at the beginning of a text.
    pub fn new(finder: &'f Finder) -> Self {
        Self {
            finder,
            buffer: Zeroizing::new(vec![0; CHUNK + LONGEST]),
            held: 0,
            base: 0,
            hits: HashMap::new(),
            bytes: 0,
        }
    }

    /// How many bytes were searched, in all texts.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Searches all that `reader` gives, as the text goes on.
    ///
    /// # Errors
    /// The reader's; what came before it was searched.
    pub fn read(&mut self, reader: &mut (impl Read + ?Sized)) -> io::Result<()> {
        loop {
            let read = match reader.read(&mut self.buffer[self.held..]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.scan(true);
                    return Err(error);
                }
            };
            self.held += read;
            self.bytes += read as u64;
            if self.held == self.buffer.len() {
                self.scan(false);
            }
        }
        Ok(())
    }

    /// Goes on at another place of the same text; between lies nothing.
    pub fn jump(&mut self, to: u64) {
        self.scan(true);
        self.base = to;
    }

    /// The text ends: what was found in it, by place. The next one may follow.
    pub fn finish(&mut self) -> Vec<Find> {
        self.scan(true);
        self.base = 0;
        let hits = std::mem::take(&mut self.hits);
        judge(self.finder, hits)
    }

    fn scan(&mut self, is_end: bool) {
        let keep = if is_end { SHORTEST } else { LONGEST };
        let end = (self.held + 1).saturating_sub(keep);
        let text = &self.buffer[..self.held];
        let (filter, shift) = (&self.finder.filter, self.finder.shift);
        for (at, window) in text.windows(SHORTEST).take(end).enumerate() {
            let head = head(window);
            let bit = spread(head, shift);
            if filter[bit >> 6] & (1 << (bit & 63)) != 0 {
                compare(
                    self.finder,
                    head,
                    &text[at..],
                    self.base + at as u64,
                    &mut self.hits,
                );
            }
        }
        if is_end {
            self.base += self.held as u64;
            self.held = 0;
        } else {
            self.buffer.copy_within(end..self.held, 0);
            self.base += end as u64;
            self.held -= end;
        }
    }
}

/// Takes down which patterns stand at the beginning of `text`.
fn compare(finder: &Finder, head: u64, text: &[u8], offset: u64, hits: &mut HashMap<usize, Hit>) {
    let begin = finder.heads.partition_point(|h| *h < head);
    let equal = finder.heads[begin..].iter().take_while(|h| **h == head);
    for pattern in &finder.patterns[begin..begin + equal.count()] {
        if !text.starts_with(pattern.text.expose()) {
            continue;
        }
        let hit = hits.entry(pattern.value).or_insert_with(|| Hit {
            first: offset,
            last: u64::MAX,
            count: 0,
            whole: false,
            is_encoded: true,
            telling_line: false,
            lines: BTreeSet::new(),
        });
        match pattern.part {
            Part::Whole { is_encoded } => {
                if !hit.whole {
                    (hit.whole, hit.first) = (true, offset);
                }
                hit.count += u64::from(hit.last != offset);
                hit.last = offset;
                hit.is_encoded &= is_encoded;
            }
            Part::Line { number, is_telling } => {
                hit.telling_line |= is_telling;
                hit.lines.insert(number);
            }
        }
    }
}

/// What the hits in one text amount to.
fn judge(finder: &Finder, hits: HashMap<usize, Hit>) -> Vec<Find> {
    let documents = |value: usize| {
        let owners = finder.values[value].owners.iter();
        owners.map(|owner| finder.wanted[*owner].document.as_str())
    };
    let is_sure = |value: usize, hit: &Hit| {
        let all = finder.values[value].lines;
        (hit.whole && finder.values[value].is_telling)
            || hit.telling_line
            || (hit.lines.len() >= 2 && hit.lines.len() * 2 >= all)
            || (all == 1 && hit.lines.len() == 1)
    };
    // Names stand beside passwords in a decrypted document: what is sure vouches for the rest of its document, and so do
    // many together.
    let mut vouched: BTreeSet<&str> = BTreeSet::new();
    let mut together: HashMap<&str, usize> = HashMap::new();
    for (value, hit) in &hits {
        if is_sure(*value, hit) {
            vouched.extend(documents(*value));
        } else if hit.whole {
            for document in documents(*value).collect::<BTreeSet<_>>() {
                *together.entry(document).or_default() += 1;
            }
        }
    }
    for (document, count) in together {
        let all = finder.sizes.get(document).copied().unwrap_or_default();
        if count >= 3 && count * 2 >= all {
            vouched.insert(document);
        }
    }
    let mut finds = Vec::new();
    for (value, hit) in &hits {
        let sure = is_sure(*value, hit);
        if !sure && !hit.whole {
            continue;
        }
        let mut owners = finder.values[*value].owners.clone();
        // Of those who hold the same value, the ones that something else speaks for.
        if owners
            .iter()
            .any(|o| vouched.contains(finder.wanted[*o].document.as_str()))
        {
            owners.retain(|o| vouched.contains(finder.wanted[*o].document.as_str()));
        }
        finds.push(Find {
            may_be_chance: !sure && !documents(*value).any(|d| vouched.contains(d)),
            owners,
            offset: hit.first,
            count: hit.count.max(1),
            is_encoded: hit.whole && hit.is_encoded,
            is_partial: !hit.whole,
        });
    }
    finds.sort_by_key(|find| (find.offset, find.owners.first().copied()));
    finds
}
