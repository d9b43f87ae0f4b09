//! How fast the guest's requests may go, all queues together: limits of the command line, or of a
//! file that is read again after SIGHUP.

use std::fs;
use std::path::{Path, PathBuf};

use blkalign::{Bucket, Error, Throttle, ThrottleLimits};

/// A longer file is no file of limits.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where limits come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    CommandLine(ThrottleLimits),
    File(PathBuf),
}

impl Default for Source {
    fn default() -> Source {
        Source::CommandLine(ThrottleLimits::default())
    }
}

/// Takes in one limit, of the name that the option has behind `--throttle-`. An error is words.
pub fn set_limit(limits: &mut ThrottleLimits, name: &str, value: &str) -> Result<(), String> {
    let bucket = match name {
        "bytes" => &mut limits.bytes,
        "read-bytes" => &mut limits.read_bytes,
        "write-bytes" => &mut limits.write_bytes,
        "requests" => &mut limits.requests,
        "read-requests" => &mut limits.read_requests,
        "write-requests" => &mut limits.write_requests,
        "request-bytes" => {
            limits.request_bytes = number(value).ok_or_else(|| wrong(name, "a number", value))?;
            return Ok(());
        }
        _ => return Err(format!("{name}: there is no such limit")),
    };
    *bucket = bucket_of(value).ok_or_else(|| wrong(name, "RATE or RATE:BURST", value))?;
    Ok(())
}

fn wrong(name: &str, wants: &str, value: &str) -> String {
    format!("{name} needs {wants}, not {value:?}")
}

fn bucket_of(value: &str) -> Option<Bucket> {
    let (rate, burst) = value.split_once(':').unwrap_or((value, "0"));
    let bucket = Bucket::per_second(number(rate)?).with_burst(number(burst)?);
    (bucket.rate > 0 || bucket.burst == 0).then_some(bucket)
}

/// With K, M, G or T behind it: times 1024, and so on.
fn number(text: &str) -> Option<u64> {
    let shift = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => 0,
    };
    let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
    // `parse` would take a sign.
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if plain { digits.parse().ok()? } else { return None };
    number.checked_mul(1 << shift)
}

/// One limit a line: `write-bytes 50M:5M`. What stands behind `#` is a comment.
fn parse(text: &str) -> Result<ThrottleLimits, String> {
    let mut limits = ThrottleLimits::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let result = match words[..] {
            [] => Ok(()),
            [name, value] => set_limit(&mut limits, name, value),
            _ => Err("a line has a name and a value".into()),
        };
        result.map_err(|words| format!("line {}: {words}", index + 1))?;
    }
    Ok(limits)
}

fn read(path: &Path) -> Result<ThrottleLimits, String> {
    let in_words = |words: String| format!("{}: {words}", path.display());
    let data = fs::metadata(path).map_err(|error| in_words(error.to_string()))?;
    // Of a pipe, say, there may never be an end.
    if !data.is_file() || data.len() > FILE_BYTES_MAX {
        return Err(in_words("not a short regular file".into()));
    }
    let text = fs::read_to_string(path).map_err(|error| in_words(error.to_string()))?;
    parse(&text).map_err(in_words)
}

/// The limits that are in force.
pub struct Throttling {
    source: Source,
    limits: ThrottleLimits,
    /// None: there are no limits, and nothing is spent on them.
    group: Option<Throttle>,
}

/// What another look at the file has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// The limits come from the command line, or the file says what it said before.
    Nothing,
    /// The queues have other limits already.
    InForce,
    /// The queues have to be given `group`.
    Group,
}

impl Throttling {
    /// An error is words for the user.
    pub fn new(source: &Source) -> Result<Throttling, String> {
        let limits = match source {
            Source::CommandLine(limits) => *limits,
            Source::File(path) => read(path)?,
        };
        let group = group_of(&limits).map_err(|error| error.to_string())?;
        Ok(Throttling { source: source.clone(), limits, group })
    }

    pub fn group(&self) -> Option<&Throttle> {
        self.group.as_ref()
    }

    /// Reads the file again. After an error, which is words, the limits stay as they were.
    pub fn refresh(&mut self) -> Result<Change, String> {
        let Source::File(path) = &self.source else { return Ok(Change::Nothing) };
        let limits = read(path)?;
        if limits == self.limits {
            return Ok(Change::Nothing);
        }
        let in_words = |error: Error| error.to_string();
        let change = match &self.group {
            Some(group) if limits_anything(&limits) => {
                group.set(&limits).map_err(in_words)?;
                Change::InForce
            }
            _ => {
                self.group = group_of(&limits).map_err(in_words)?;
                Change::Group
            }
        };
        self.limits = limits;
        Ok(change)
    }
}

fn group_of(limits: &ThrottleLimits) -> Result<Option<Throttle>, Error> {
    limits_anything(limits).then(|| Throttle::new(limits)).transpose()
}

fn limits_anything(limits: &ThrottleLimits) -> bool {
    let mut buckets = *limits;
    buckets.request_bytes = 0;
    buckets != ThrottleLimits::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_limits_line_by_line() {
        let text = "# of the night\nbytes 100M\n\n write-bytes\t50M:5m # slower\nrequests 2K:1\n\
                    read-requests 7\nrequest-bytes 64K\n";
        let mut expected = ThrottleLimits::default();
        expected.bytes = Bucket::per_second(100 << 20);
        expected.write_bytes = Bucket::per_second(50 << 20).with_burst(5 << 20);
        expected.requests = Bucket::per_second(2048).with_burst(1);
        expected.read_requests = Bucket::per_second(7);
        expected.request_bytes = 64 << 10;
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(""), Ok(ThrottleLimits::default()));
    }

    #[test]
    fn what_is_no_limit_is_refused_with_its_line() {
        let bad = [
            "bytes",
            "bytes 1 2",
            "bites 1",
            "bytes -1",
            "bytes +1",
            "bytes 1:",
            "bytes :1",
            "bytes 0:5",
            "bytes K",
            "bytes 1KK",
            "bytes 99999999T",
            "request-bytes 1:1",
            "bytes 18446744073709551616",
            "bytes 1é",
        ];
        for line in bad {
            let words = parse(&format!("requests 5\n{line}\n")).unwrap_err();
            assert!(words.starts_with("line 2: "), "{line}: {words}");
        }
    }

    #[test]
    fn the_unit_of_requests_alone_limits_nothing() {
        let limits = parse("request-bytes 4096\nbytes 0").unwrap();
        assert!(group_of(&limits).unwrap().is_none());
    }
}
