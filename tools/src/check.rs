//! `tandem check`: is this configuration right, and what would it come to here?

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use config::Config;

/// Arguments of `tandem check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML)
    pub file: PathBuf,
    /// Print the whole configuration with all defaults
    #[arg(long)]
    pub print: bool,
}

/// Reads a configuration file.
///
/// # Errors
/// `file:line:column: what is wrong`, with the nearest known key where one was meant.
pub fn load(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    match config::load(&text) {
        Ok(config) => Ok(config),
        Err(error) => bail!("{}", shown(path, &text, &error)),
    }
}

/// The fault as compilers show theirs: place, line, caret.
fn shown(path: &Path, text: &str, error: &config::ConfigError) -> String {
    let Some(line) = error.line.checked_sub(1).and_then(|at| text.lines().nth(at)) else {
        return format!("{}: {}", path.display(), error.message);
    };
    let pad = " ".repeat(error.column.saturating_sub(1));
    format!(
        "{}:{}:{}: {}\n    {line}\n    {pad}^",
        path.display(),
        error.line,
        error.column,
        error.message
    )
}

/// `tandem check`.
///
/// # Errors
/// As [`load`].
pub fn main(args: &Args) -> Result<bool> {
    let config = load(&args.file)?;
    if args.print {
        print!("{}", toml::to_string(&config)?);
        return Ok(true);
    }
    let shards = crate::up::shards(&config);
    let ports: u32 =
        config.dataplane.media.iter().map(|m| u32::from(m.ports[1] - m.ports[0]) + 1).sum();
    println!("{}: right", args.file.display());
    println!("  shards       {shards} on this machine");
    println!(
        "  legs         {} in all",
        u64::from(crate::system::capacity(&config).legs) * u64::from(shards)
    );
    println!("  media ports  {ports}");
    for listener in &config.dataplane.listener {
        println!("  SIP          {} ({})", listener.bind, listener.name);
    }
    println!("  HTTP         {}", config.controlplane.http);
    for finding in crate::up::media_ports(&config) {
        println!("{finding}");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_shown_with_its_place() {
        let text = "[dataplane]\nshard = 3\n";
        let error = config::load(text).expect_err("unknown key");
        let said = shown(Path::new("t.toml"), text, &error);
        assert!(said.starts_with("t.toml:2:1:"), "{said}");
        assert!(said.contains("`shards`"), "{said}");
    }
}
