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
    let mut config = load(&args.file)?;
    if args.print {
        // What is printed is shown to others.
        for trunk in config.trunk.iter_mut().filter(|trunk| !trunk.password.0.is_empty()) {
            "***".clone_into(&mut trunk.password.0);
        }
        print!("{}", toml::to_string(&config)?);
        return Ok(true);
    }
    let shards = crate::up::shards(&config);
    if let Some(fault) = media_fault(&config, shards) {
        bail!("{}: {fault}", args.file.display());
    }
    if let Some(fault) = certificate_fault(&config) {
        bail!("{}: {fault}", args.file.display());
    }
    // Whoever reads no further (`| head -1`) has what he wants.
    let _ = write_summary(&mut std::io::stdout().lock(), &args.file, &config, shards);
    Ok(true)
}

/// Media that the dataplane would not start with.
fn media_fault(config: &Config, shards: u8) -> Option<String> {
    let fault = |media: &config::Media| {
        let ([first, last], name) = (media.ports, &media.name);
        let blocks = config::capacity::blocks(media.ports);
        if media.bind.is_unspecified() {
            return Some(format!("media `{name}`: `bind` must name one address of this machine"));
        }
        (blocks < u64::from(shards)).then(|| {
            format!(
                "media `{name}`: ports {first}-{last} hold {blocks} whole blocks of 256 (a block \
                 starts at a multiple of 256), {shards} shards need one each: widen `ports` or \
                 lower `shards`"
            )
        })
    };
    config.dataplane.media.iter().find_map(fault)
}

/// Certificates that the dataplane would not take. Those that `tandem up` makes are right.
fn certificate_fault(config: &Config) -> Option<String> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
    };
    for certificate in &config.tls.certificate {
        let both = read(&certificate.chain).and_then(|chain| Ok((chain, read(&certificate.key)?)));
        let (chain, key) = match both {
            Ok(both) => both,
            Err(fault) => return Some(fault),
        };
        let certificates = vec![wire::material::Certificate { chain, key, listeners: Vec::new() }];
        let material = wire::material::Material { certificates, ..Default::default() };
        if let Err(error) = secure::Identity::new(&material, &[secure::Asks::Nothing]) {
            return Some(format!("{}: {error}", certificate.chain.display()));
        }
    }
    let authorities = &config.tls.authorities;
    let is_named = !authorities.as_os_str().is_empty();
    is_named.then(|| read(authorities).err()).flatten()
}

fn write_summary(
    out: &mut impl std::io::Write,
    file: &Path,
    config: &Config,
    shards: u8,
) -> std::io::Result<()> {
    let capacity = crate::system::capacity(config);
    writeln!(out, "{}: right", file.display())?;
    writeln!(out, "  shards       {shards} on this machine")?;
    let legs = u64::from(capacity.legs) * u64::from(shards);
    writeln!(out, "  legs         {legs} in all, those included that wait for their billing")?;
    writeln!(out, "  media ports  {} pairs, in whole blocks", capacity.pairs)?;
    writeln!(out, "  calls        {} at one time, bound by {}", capacity.calls, capacity.bound)?;
    let connections = u64::from(capacity.connections) * u64::from(shards);
    writeln!(out, "  connections  {connections} may come in over TCP")?;
    for listener in &config.dataplane.listener {
        let protocol = crate::system::Protocol::of(listener.transport).text();
        writeln!(out, "  SIP          {} {protocol} ({})", listener.bind, listener.name)?;
    }
    writeln!(out, "  HTTP         {}", config.controlplane.http)?;
    for finding in crate::up::media_ports(config) {
        writeln!(out, "{finding}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dataplane_would_die_of_is_found_before() {
        let mut config = Config::default();
        assert_eq!(media_fault(&config, 1), None);
        config.dataplane.media[0].ports = [20_100, 20_355];
        assert!(media_fault(&config, 1).unwrap().contains("0 whole blocks"));
        config.dataplane.media[0].ports = [20_224, 20_800];
        assert_eq!(media_fault(&config, 1), None, "two whole blocks lie within");
        assert!(media_fault(&config, 3).unwrap().contains("2 whole blocks"));
        config.dataplane.media[0].bind = "0.0.0.0".parse().unwrap();
        assert!(media_fault(&config, 1).unwrap().contains("bind"));
    }

    #[test]
    fn what_is_said_of_the_ports_is_what_is_used_of_them() {
        let mut config = Config::default();
        config.dataplane.media[0].ports = [33_000, 33_767];
        let mut said = Vec::new();
        write_summary(&mut said, Path::new("t.toml"), &config, 1).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("256 pairs") && said.contains("128 at one time"), "{said}");
    }

    #[test]
    fn a_typo_is_shown_with_its_place() {
        let text = "[dataplane]\nshard = 3\n";
        let error = config::load(text).expect_err("unknown key");
        let said = shown(Path::new("t.toml"), text, &error);
        assert!(said.starts_with("t.toml:2:1:"), "{said}");
        assert!(said.contains("`shards`"), "{said}");
    }
}
