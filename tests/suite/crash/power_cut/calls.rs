//! What strace wrote down, as system calls in the order in which they returned.

use std::collections::HashMap;

/// What of strace makes a record that is exact: all that changes files, all that tells which descriptor stands for
/// what, and every byte.
pub const ARGUMENTS: [&str; 5] = [
    "-xx",
    "-s",
    "33554432",
    "-e",
    "trace=%file,read,pread64,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fchmod,fchown,fsetxattr,\
     copy_file_range,sendfile,splice,ioctl,mmap,fsync,fdatasync,sync,syncfs,sync_file_range,dup,dup2,dup3,fcntl,close,\
     lseek",
];

/// A system call that returned without an error.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    pub arguments: Vec<String>,
    pub result: i64,
    /// How many calls had returned when it began.
    pub begun: usize,
}

/// Reads the log of one process and its threads. Calls that failed or never returned did nothing.
pub fn read(log: &str) -> Vec<Call> {
    let mut unfinished = HashMap::new();
    let mut calls: Vec<Call> = Vec::new();
    for line in log.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (begin, calls.len()));
            continue;
        }
        let (text, begun) = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let Some((begin, begun)) = unfinished.remove(thread) else { continue };
                (begin.to_owned() + resumed.split_once(" resumed>").unwrap().1, begun)
            }
            None => (rest.to_owned(), calls.len()),
        };
        calls.extend(parse(&text, begun));
    }
    calls
}

fn parse(text: &str, begun: usize) -> Option<Call> {
    let (called, result) = text.rsplit_once(" = ")?;
    let result = result.split(' ').next()?;
    // An address is of no interest.
    let result = if result.starts_with("0x") { 0 } else { result.parse().ok()? };
    let (name, arguments) = called.trim_end().strip_suffix(')')?.split_once('(')?;
    (result >= 0).then(|| Call { name: name.to_owned(), arguments: split(arguments), result, begun })
}

/// Splits at the commas that stand in no brackets. Strings are in hexadecimal and hold none.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in arguments.chars() {
        depth += i32::from("[{(".contains(letter)) - i32::from("]})".contains(letter));
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(letter),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// The bytes of all strings in an argument.
pub fn bytes(argument: &str) -> Vec<u8> {
    assert!(!argument.contains("\"..."), "strace cut a string off");
    let strings = argument.split('"').skip(1).step_by(2);
    strings
        .flat_map(|string| string.split("\\x").skip(1))
        .map(|digits| u8::from_str_radix(digits, 16).unwrap())
        .collect()
}

/// A number, in whatever way strace writes it.
pub fn number(argument: &str) -> u64 {
    match (argument.strip_prefix("0x"), argument.strip_prefix('0')) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).unwrap(),
        (None, Some(digits)) if !digits.is_empty() => u64::from_str_radix(digits, 8).unwrap(),
        _ => argument.parse().unwrap(),
    }
}
