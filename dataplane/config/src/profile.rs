//! Kinds of far ends that a trunk may lead to. A profile is a short way to write plain settings:
//! each of them may be written beside it and goes before it.

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};
use wire::table::{Digits, EarlyMedia, MediaSources, ReliableRinging};

use crate::{Config, Trunk};

/// See [`Trunk::profile`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Sets nothing.
    #[default]
    None,
    /// Hangs up at a re-INVITE.
    Fixed,
    /// The same; takes SHA-256 alone, and Opus first.
    Strict,
    /// The same, with encrypted media alone.
    StrictSrtp,
    /// An old switch: G.711, MD5, no 100rel.
    Legacy,
}

/// See [`Trunk::digest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Digest {
    #[default]
    Any,
    Md5,
    #[serde(rename = "sha-256")]
    Sha256,
}

/// See [`Trunk::srtp`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    #[default]
    Off,
    Require,
}

/// What a profile sets.
struct Settings {
    session_timer: bool,
    reliable: ReliableRinging,
    early_media: EarlyMedia,
    dtmf: Digits,
    media: MediaSources,
    codecs: &'static [&'static str],
    digest: Digest,
    srtp: Srtp,
}

const FIXED: Settings = Settings {
    session_timer: false,
    reliable: ReliableRinging::Off,
    early_media: EarlyMedia::Pass,
    dtmf: Digits::Auto,
    media: MediaSources::Network,
    codecs: &[],
    digest: Digest::Any,
    srtp: Srtp::Off,
};

const STRICT: Settings = Settings {
    dtmf: Digits::Rfc4733,
    codecs: &["opus", "G722", "PCMA", "PCMU"],
    digest: Digest::Sha256,
    ..FIXED
};

const LEGACY: Settings =
    Settings { dtmf: Digits::Rfc4733, codecs: &["PCMA", "PCMU"], digest: Digest::Md5, ..FIXED };

impl Profile {
    fn settings(self) -> Option<Settings> {
        Some(match self {
            Self::None => return None,
            Self::Fixed => FIXED,
            Self::Strict => STRICT,
            Self::StrictSrtp => Settings { srtp: Srtp::Require, ..STRICT },
            Self::Legacy => LEGACY,
        })
    }
}

/// Gives each trunk what its profile sets and the text does not.
pub(crate) fn expand(text: &str, config: &mut Config) {
    let Ok(root) = DeTable::parse(text) else { return };
    let written = root.get_ref().get("trunk").map(|it| it.get_ref());
    let Some(DeValue::Array(written)) = written else { return };
    for (trunk, table) in config.trunk.iter_mut().zip(written.iter()) {
        let (Some(settings), DeValue::Table(table)) = (trunk.profile.settings(), table.get_ref())
        else {
            continue;
        };
        give(trunk, &settings, |key| table.get(key).is_none());
    }
}

fn give(trunk: &mut Trunk, settings: &Settings, is_open: impl Fn(&str) -> bool) {
    fn set<T>(is_open: bool, slot: &mut T, value: T) {
        if is_open {
            *slot = value;
        }
    }
    set(is_open("session_timer"), &mut trunk.session_timer, settings.session_timer);
    set(is_open("reliable"), &mut trunk.reliable, settings.reliable);
    set(is_open("early_media"), &mut trunk.early_media, settings.early_media);
    set(is_open("dtmf"), &mut trunk.dtmf, settings.dtmf);
    set(is_open("media"), &mut trunk.media, settings.media);
    let codecs = settings.codecs.iter().map(|name| (*name).to_owned()).collect();
    set(is_open("codecs"), &mut trunk.codecs, codecs);
    set(is_open("digest"), &mut trunk.digest, settings.digest);
    set(is_open("srtp"), &mut trunk.srtp, settings.srtp);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;

    fn text(lines: &str) -> String {
        format!(
            "[[trunk]]\nname = \"t\"\nsources = [\"10.0.0.0/8\"]\n\
             targets = [\"10.0.0.1:5060\"]\n{lines}\n"
        )
    }

    fn trunk(lines: &str) -> Trunk {
        load(&text(lines)).unwrap().trunk.remove(0)
    }

    #[test]
    fn a_profile_is_plain_settings_each_of_which_may_be_another() {
        let strict = trunk("profile = \"strict\"");
        assert_eq!(strict.codecs, ["opus", "G722", "PCMA", "PCMU"]);
        assert_eq!((strict.session_timer, strict.digest), (false, Digest::Sha256));
        assert_eq!((strict.reliable, strict.dtmf), (ReliableRinging::Off, Digits::Rfc4733));
        let other = trunk("profile = \"strict\"\ncodecs = []\nsession_timer = true");
        assert_eq!((other.codecs.len(), other.session_timer), (0, true));
        assert_eq!(other.digest, Digest::Sha256);
        let written = "session_timer = false\nreliable = \"off\"\nmedia = \"network\"";
        let fixed = Trunk { profile: Profile::None, ..trunk("profile = \"fixed\"") };
        assert_eq!(fixed, trunk(written), "it is nothing that could not be written");
        assert!(trunk("").session_timer && trunk("").codecs.is_empty());
        assert_eq!(trunk("profile = \"legacy\"").digest, Digest::Md5);
    }

    #[test]
    fn what_was_expanded_is_read_again_as_it_is() {
        let config = load(&text("profile = \"strict\"\nsession_timer = true")).unwrap();
        assert_eq!(load(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn encrypted_media_is_refused_as_long_as_there_is_none() {
        for lines in ["srtp = \"require\"", "profile = \"strict-srtp\""] {
            let error = load(&text(lines)).unwrap_err().to_string();
            assert!(error.contains("`trunk[0].srtp` cannot be `require`"), "{error}");
        }
        assert_eq!(trunk("profile = \"strict-srtp\"\nsrtp = \"off\"").srtp, Srtp::Off);
    }

    #[test]
    fn codecs_are_known_and_each_is_named_once() {
        assert_eq!(trunk("codecs = [\"OPUS\", \"pcmu\"]").codecs.len(), 2);
        for (codecs, says) in [("\"H264\"", "has no `H264`"), ("\"opus\", \"Opus\"", "twice")] {
            let error = load(&text(&format!("codecs = [{codecs}]"))).unwrap_err().to_string();
            assert!(error.contains("`trunk[0].codecs`") && error.contains(says), "{error}");
        }
        assert!(load(&text("profile = \"odd\"")).is_err());
    }
}
