//! What must hold of a trunk's policy beside its targets.

use wire::policy::{BadHours, CodecOrder, Failover, Hours};

use crate::profile::Srtp;
use crate::{Config, Trunk};

/// Better no trunk than one that is open.
const SRTP_NOT: &str = "cannot be `require`: encrypted media (SRTP) is not there yet. A trunk that \
                        takes plain media beside TLS has `srtp = \"off\"`";

/// Bytes of a prefix, and of what is put in front of a number.
const NUMBER_BYTES_MAX: usize = 40;
const HEALTH_S: core::ops::RangeInclusive<u16> = 5..=3_600;
const HOURS_MAX: usize = 32;
/// Nowhere is further from UTC.
const OFFSET_MAX: u16 = 14 * 60;

/// # Errors
/// The key, and what is wrong with it.
pub(crate) fn check(trunk: &Trunk) -> Result<(), (&'static str, String)> {
    CodecOrder::of(trunk.codecs.iter().map(String::as_str)).map_err(|why| ("codecs", why))?;
    if trunk.srtp == Srtp::Require {
        return Err(("srtp", SRTP_NOT.to_owned()));
    }
    check_failover(&trunk.failover).map_err(|message| ("failover", message))?;
    if trunk.health_s != 0 && !HEALTH_S.contains(&trunk.health_s) {
        let (least, most) = (HEALTH_S.start(), HEALTH_S.end());
        return Err(("health_s", format!("must be 0 or from {least} to {most}")));
    }
    if trunk.hours.len() > HOURS_MAX {
        return Err(("hours", format!("must be at most {HOURS_MAX} parts of a week")));
    }
    let bad: Option<BadHours> = trunk.hours.iter().find_map(|text| text.parse::<Hours>().err());
    if let Some(bad) = bad {
        return Err(("hours", format!("cannot be read: {bad}")));
    }
    if trunk.utc_offset_min.unsigned_abs() > OFFSET_MAX {
        let message = format!("must be from -{OFFSET_MAX} to {OFFSET_MAX}");
        return Err(("utc_offset_min", message));
    }
    let is_code = |text: &str| {
        text.len() <= 3 && !text.starts_with('0') && text.bytes().all(|it| it.is_ascii_digit())
    };
    if !is_code(&trunk.country) {
        return Err(("country", "must be a country code such as `49`".to_owned()));
    }
    let is_number = |byte: u8| byte.is_ascii_digit() || b"+*#".contains(&byte);
    let put = &trunk.caller_prepend;
    if put.len() > NUMBER_BYTES_MAX || !put.bytes().all(is_number) {
        return Err(("caller_prepend", "must be the beginning of a number".to_owned()));
    }
    if trunk.prefix.len() > NUMBER_BYTES_MAX {
        return Err(("prefix", format!("must be at most {NUMBER_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Every target is reached from the listener that the trunk names.
///
/// # Errors
/// What is wrong with the name.
pub(crate) fn check_listener(config: &Config, trunk: &Trunk) -> Result<(), String> {
    if trunk.listener.is_empty() {
        return Ok(());
    }
    let mut listeners = config.dataplane.listener.iter();
    let Some(listener) = listeners.find(|it| it.name == trunk.listener) else {
        return Err(format!("names no listener: `{}`", trunk.listener));
    };
    let is_v4 = listener.advertised.unwrap_or(listener.bind).is_ipv4();
    let reaches = |target: &&base::Target| {
        target.transport == listener.transport && target.address.is_ipv4() == is_v4
    };
    match trunk.targets.iter().find(|target| !reaches(target)) {
        Some(target) => Err(format!("`{}` cannot reach {target}", trunk.listener)),
        None => Ok(()),
    }
}

/// # Errors
/// Which status may not be in the list, and why.
pub(crate) fn check_failover(codes: &[u16]) -> Result<(), String> {
    codes.iter().try_fold(Failover::NONE, |known, code| {
        known.with(*code).map_err(|why| format!("cannot have {code}: it {why}"))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::load;

    fn trunk(line: &str) -> Result<(), String> {
        let text = format!(
            "[[trunk]]\nname = \"t\"\nsources = [\"10.0.0.0/8\"]\n\
             targets = [\"10.0.0.1:5060\"]\n{line}\n"
        );
        load(&text).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_says_something_of_the_callee_is_no_reason_to_go_on() {
        assert_eq!(trunk("failover = [408, 429, 500, 503, 599]"), Ok(()));
        assert_eq!(trunk("failover = []"), Ok(()));
        for code in [302, 404, 486, 487, 600, 603, 604, 700] {
            let error = trunk(&format!("failover = [503, {code}]")).unwrap_err();
            assert!(error.contains(&format!("`trunk[0].failover` cannot have {code}: it ")));
        }
        let error = load("[[outbound]]\nname = \"o\"\ntargets = [\"h\"]\nfailover = [603]\n");
        assert!(error.unwrap_err().message.contains("is final for all targets"));
    }

    #[test]
    fn a_trunk_is_reached_from_a_listener_that_reaches_it() {
        let listener = |name: &str, bind: &str, more: &str| {
            format!("[[dataplane.listener]]\nname = \"{name}\"\nbind = \"{bind}\"\n{more}")
        };
        let listeners = listener("in", "10.0.0.2:5060", "dscp = 26\n")
            + &listener("six", "[fd00::2]:5060", "dscp = 0\n")
            + &listener("tcp", "10.0.0.2:5060", "transport = \"tcp\"\n");
        let with = |name: &str| {
            let text = format!(
                "{listeners}[[trunk]]\nname = \"t\"\nsources = []\n\
                 targets = [\"10.0.0.1:5060\"]\nlistener = \"{name}\"\n"
            );
            load(&text).map_err(|error| error.to_string())
        };
        let config = with("in").unwrap();
        let dscps: Vec<_> = config.dataplane.listener.iter().map(|it| it.dscp).collect();
        assert_eq!((dscps, config.dataplane.media[0].dscp), (vec![26, 0, 24], 46));
        assert!(with("out").unwrap_err().contains("`trunk[0].listener` names no listener"));
        for other in ["six", "tcp"] {
            assert!(with(other).unwrap_err().contains("cannot reach 10.0.0.1:5060"), "{other}");
        }
        let error = load(&listener("in", "10.0.0.2:5060", "dscp = 64\n")).unwrap_err();
        assert!(error.to_string().contains("listener[0].dscp` must be from 0 to 63"), "{error}");
    }

    #[test]
    fn a_trunks_policy_is_within_its_bounds() {
        for line in [
            "redirect = \"follow\"\nredirect_allow = [\"192.0.2.0/24\"]",
            "health_s = 30\npriority = 1\nweight = 65535\ncost = 4294967295",
            "hours = [\"mon-fri 08:00-18:00\", \"sat\"]\nutc_offset_min = -300",
            "country = \"49\"\ncaller_strip = 1\ncaller_prepend = \"00\"",
            "anonymous = \"refuse\"",
        ] {
            assert_eq!(trunk(line), Ok(()), "{line}");
        }
        for line in [
            "redirect = \"ask\"",
            "redirect_allow = [\"somewhere\"]",
            "health_s = 1",
            "hours = [\"mon 8-18\"]",
            "utc_offset_min = 900",
            "country = \"+49\"",
            "caller_prepend = \"x\"",
            "weight = -1",
        ] {
            assert!(trunk(line).is_err(), "{line}");
        }
        assert!(trunk(&format!("prefix = \"{}\"", "1".repeat(41))).is_err());
    }
}
