//! A long soak of the command: runs are cut short at random moments, and each output must be a correct statement about
//! every input. The guest is the tests' `fail_error`, whose task halves even numbers and fails for odd ones.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Checked = Result<(), Box<dyn Error>>;

/// The inputs of a run.
const INPUTS: u64 = 20_000;
/// The longest time after which a run is cut short.
const MAX_DELAY_US: u64 = 150_000;

/// How a run is cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Deadline,
    Interrupt,
    Error,
    Kill,
}

/// The figures of a soak.
#[derive(Debug, Default)]
pub struct Figures {
    runs: [u64; 4],
    whole: u64,
    partial: u64,
    entries: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [deadline, interrupt, error, kill] = self.runs;
        writeln!(
            f,
            "runs: {deadline} deadline, {interrupt} SIGINT, {error} on-error stop, {kill} SIGKILL + resume"
        )?;
        write!(f, "outputs: {} whole, {} partial, {} entries checked", self.whole, self.partial, self.entries)
    }
}

/// Runs the command `count` times in `folder`.
///
/// # Errors
/// If a run cannot be started, or its output is not true.
pub fn run(
    wpool: &Path,
    guest: &Path,
    folder: &Path,
    count: u64,
    seed: u64,
) -> Result<Figures, Box<dyn Error>> {
    let mut figures = Figures::default();
    let mut random = Random(seed);
    for nth in 0..count {
        let cut = match random.below(4) {
            0 => Cut::Deadline,
            1 => Cut::Interrupt,
            2 => Cut::Error,
            _ => Cut::Kill,
        };
        figures.runs[cut as usize] += 1;
        let soak =
            Soak { wpool, guest, folder, cut, odd: random.below(INPUTS), delay: random.below(MAX_DELAY_US) };
        soak.run(&mut figures).map_err(|error| format!("run {nth} of seed {seed}, {soak:?}: {error}"))?;
    }
    Ok(figures)
}

/// One run.
#[derive(Debug)]
struct Soak<'a> {
    wpool: &'a Path,
    guest: &'a Path,
    folder: &'a Path,
    cut: Cut,
    /// The index of the odd input of a run that an error stops.
    odd: u64,
    /// In microseconds.
    delay: u64,
}

impl Soak<'_> {
    fn run(&self, figures: &mut Figures) -> Checked {
        for name in ["out", "out.partial", "journal"] {
            let _missing = fs::remove_file(self.file(name));
        }
        let inputs: Vec<String> = (0..INPUTS).map(|index| self.input(index).to_string()).collect();
        fs::write(self.file("in"), inputs.join("\n"))?;
        let (code, err) = match self.cut {
            Cut::Deadline => self.end(self.start(&["--deadline", &format!("{}us", self.delay.max(1))])?)?,
            Cut::Interrupt => self.end(self.signalled("-INT", &[])?)?,
            Cut::Error => self.end(self.start(&["--on-error", "stop"])?)?,
            Cut::Kill => {
                self.end(self.signalled("-KILL", &["--resume", "journal"])?)?;
                self.end(self.start(&["--resume", "journal"])?)?
            }
        };
        let whole = fs::read_to_string(self.file("out")).ok();
        let partial = fs::read_to_string(self.file("out.partial")).ok();
        let may_be_cut = self.cut != Cut::Kill;
        match (code, &whole, &partial) {
            (Some(0), Some(whole), None) => self.check(whole, INPUTS..=INPUTS, figures)?,
            (Some(1), Some(whole), None) if self.cut == Cut::Error => {
                self.check(whole, INPUTS..=INPUTS, figures)?;
            }
            (Some(1), None, Some(partial)) if self.cut == Cut::Error => {
                self.check(partial, self.odd + 1..=INPUTS, figures)?;
            }
            (Some(1), Some(whole), None) if self.cut == Cut::Deadline => {
                self.check(whole, INPUTS..=INPUTS, figures)?;
            }
            (Some(1), None, Some(partial)) if self.cut == Cut::Deadline => {
                let taken = err.split("has passed: ").nth(1).and_then(|rest| rest.split(' ').next());
                let taken: u64 = taken.ok_or("it does not say how many inputs were taken")?.parse()?;
                if !err.contains(&format!("{taken} inputs were taken, {} more were not", INPUTS - taken)) {
                    return Err("it does not say how many were not taken".into());
                }
                self.check(partial, INPUTS..=INPUTS, figures)?;
            }
            (Some(130), None, Some(partial)) if may_be_cut => self.check(partial, 0..=INPUTS, figures)?,
            // Before there was a pool, or a handler of the signal.
            (Some(130) | None, None, None) if self.cut == Cut::Interrupt => {}
            _ => {
                return Err(
                    format!("code {code:?}, {} and {}: {err}", whole.is_some(), partial.is_some()).into()
                );
            }
        }
        figures.whole += u64::from(whole.is_some());
        figures.partial += u64::from(partial.is_some());
        Ok(())
    }

    /// Checks the entry of each input, of which there are as many as in `counts`.
    fn check(&self, text: &str, counts: std::ops::RangeInclusive<u64>, figures: &mut Figures) -> Checked {
        let entries = text.strip_prefix("[\n").or_else(|| text.strip_prefix("[]\n"));
        let entries = entries.ok_or("it does not begin")?;
        if !text.ends_with("]\n") {
            return Err("it does not end".into());
        }
        let mut count = 0;
        for entry in entries.lines().filter(|line| *line != "]") {
            let (entry, input) = (entry.trim_end_matches(','), self.input(count));
            let failed = entry.starts_with("{\"$error\":{\"kind\":\"");
            let is_guests = entry.contains("\"kind\":\"guest\"");
            let is_true = match input % 2 {
                0 => entry == (input / 2).to_string() || failed && self.cut != Cut::Kill && !is_guests,
                _ => failed,
            };
            if !is_true {
                return Err(format!("input {count} is {input}, and its entry is {entry}").into());
            }
            count += 1;
        }
        figures.entries += count;
        if counts.contains(&count) {
            Ok(())
        } else {
            Err(format!("{count} entries, {counts:?} expected").into())
        }
    }

    fn input(&self, index: u64) -> u64 {
        if self.cut == Cut::Error && index == self.odd { 7 } else { 2 * index }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn start(&self, flags: &[&str]) -> Result<Child, Box<dyn Error>> {
        let mut command = Command::new(self.wpool);
        command.arg("run").arg(self.guest).args(["--task", "half", "--map", "in", "--output", "out"]);
        command.args(flags).current_dir(self.folder);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
    }

    /// Starts a run, and sends it a signal some time later.
    fn signalled(&self, signal: &str, flags: &[&str]) -> Result<Child, Box<dyn Error>> {
        let child = self.start(flags)?;
        std::thread::sleep(Duration::from_micros(self.delay));
        // A run that has ended is not collected yet, so its id is still its own.
        let _ended =
            Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status()?;
        Ok(child)
    }

    /// Waits for the end. Returns the exit code and the messages.
    fn end(&self, child: Child) -> Result<(Option<i32>, String), Box<dyn Error>> {
        let began = Instant::now();
        let output = child.wait_with_output()?;
        if began.elapsed() > Duration::from_secs(60) {
            return Err("it took longer than a minute".into());
        }
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// Numbers that look random, the same for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
