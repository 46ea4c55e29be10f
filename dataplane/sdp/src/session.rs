//! The borrowed reader.
//!
//! ```text
//!   v= o= s= c= t= a=      head: session level
//!   m=audio ...            Media 0: its line taken apart,
//!   c= a= a= ...             its section kept as text
//!   m=video ...            Media 1
//! ```
//!
//! `parse` checks every line, every limit and every number that later code relies on; accessors
//! then look attributes up in the section's text. Values in force for a media section are its own,
//! or the session's where it has none (RFC 8866 section 5.7).

use core::cell::OnceCell;

use arrayvec::ArrayVec;

use crate::error::SdpError;
use crate::limits::{ATTRIBUTES_MAX, CANDIDATES_MAX, MEDIA_MAX, MESSAGE_BYTES_MAX};
use crate::media::{Attribute, Media, Said, attributes};
use crate::scan::{HASH_START, Lines, hash, word};

/// A parsed session description; borrows the text.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    text: &'a [u8],
    head: &'a [u8],
    origin: Option<Origin<'a>>,
    media: ArrayVec<Media<'a>, MEDIA_MAX>,
    /// The place of [`Session::audio`], once anybody asked: everybody who reads it does.
    audio: OnceCell<Option<u8>>,
}

impl<'a> Session<'a> {
    /// Reads a description.
    ///
    /// Tolerated because real phones do it: LF alone as line end, blank lines, a last line that was
    /// cut off, missing o=, s= and t=, an o= line that cannot be read (it is then none), lines out
    /// of order within a section, blanks and tabs around values, unknown letters and attributes,
    /// and whatever stands on an m= line that is not used (RFC 3264 section 5.1: port 0; or no
    /// audio).
    ///
    /// # Errors
    /// A broken line or a limit exceeded; see [`SdpError`].
    pub fn parse(text: &'a [u8]) -> Result<Self, SdpError> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let mut lines = Lines::new(text);
        match lines.checked()? {
            Some((b'v', version)) if version.trim_ascii() == b"0" => {}
            _ => return Err(SdpError::BadVersion),
        }
        let head = lines.rest();
        let (media, audio) = (ArrayVec::new(), OnceCell::new());
        let mut session = Self { text, head, origin: None, media, audio };
        let mut section = Section::default();
        let mut said = Said::default();
        loop {
            let before = lines.rest();
            let Some((letter, value)) = lines.checked()? else { break };
            match letter {
                b'm' => {
                    session.close_section(before);
                    session.open_media(value, lines.rest())?;
                    section = Section::default();
                }
                b'o' if session.media.is_empty() => {
                    session.origin = session.origin.or_else(|| Origin::parse(value));
                }
                b'a' => section.count(value)?,
                _ => {}
            }
            match session.media.last_mut() {
                Some(media) if letter != b'm' => media.said.note(letter, value),
                Some(_) => {}
                None => said.note(letter, value),
            }
        }
        session.close_section(&text[text.len()..]);
        let head = session.head;
        for media in &mut session.media {
            media.head = head;
            media.said.inherit(&said);
        }
        Ok(session)
    }

    /// The text that was read.
    #[must_use]
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The o= line; `None` when it is missing or cannot be read.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin<'a>> {
        self.origin.as_ref()
    }

    /// The media sections in order, rejected ones (port 0) included.
    #[must_use]
    pub fn media(&self) -> &[Media<'a>] {
        &self.media
    }

    /// Attributes of the session level.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        attributes(self.head)
    }

    /// The first audio section over plain RTP (AVP or AVPF) that is not rejected and has a payload
    /// type whose codec is known.
    ///
    /// # Errors
    /// [`SdpError::NoAudio`].
    pub fn audio(&self) -> Result<&Media<'a>, SdpError> {
        let find = || (0..).zip(self.media()).find(|(_, media)| media.is_usable_audio());
        let place = *self.audio.get_or_init(|| find().map(|(place, _)| place));
        place.and_then(|place| self.media().get(usize::from(place))).ok_or(SdpError::NoAudio)
    }

    /// The first audio section over plain RTP (AVP, AVPF), whatever its port and codecs. `None` is
    /// "no audio at all", where `m=audio 0` is an audio stream that is switched off, and which an
    /// answer switches off too (RFC 3264 sections 5.1 and 6).
    #[must_use]
    pub fn audio_line(&self) -> Option<&Media<'a>> {
        self.media().iter().find(|media| media.is_plain_audio())
    }

    /// What a later offer is compared with; see [`Stamp::change`].
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let origin = self.origin.as_ref();
        Stamp {
            session: origin.map_or(0, |origin| {
                let state = hash(HASH_START, origin.username);
                hash(hash(state, origin.session_id), origin.address)
            }),
            version: origin.map_or(0, |origin| hash(HASH_START, origin.version)),
            body: hash(HASH_START, self.text),
        }
    }

    fn open_media(&mut self, value: &'a [u8], rest: &'a [u8]) -> Result<(), SdpError> {
        let index = u8::try_from(self.media.len()).map_err(|_| SdpError::TooManyMedia)?;
        if self.media.is_full() {
            return Err(SdpError::TooManyMedia);
        }
        let mut media = Media::parse(value, index)?;
        media.lines = rest;
        self.media.push(media);
        Ok(())
    }

    /// Ends the section being read where `rest` begins.
    fn close_section(&mut self, rest: &'a [u8]) {
        let open = match self.media.last_mut() {
            Some(last) => &mut last.lines,
            None => &mut self.head,
        };
        *open = &open[..open.len() - rest.len()];
    }
}

/// Counts what is limited per section.
#[derive(Default)]
struct Section {
    attributes: usize,
    candidates: usize,
}

impl Section {
    fn count(&mut self, value: &[u8]) -> Result<(), SdpError> {
        self.attributes += 1;
        if self.attributes > ATTRIBUTES_MAX {
            return Err(SdpError::TooManyAttributes);
        }
        if value.starts_with(b"candidate:") {
            self.candidates += 1;
            if self.candidates > CANDIDATES_MAX {
                return Err(SdpError::TooManyCandidates);
            }
        }
        Ok(())
    }
}

/// The o= line (RFC 8866 section 5.2). Numbers are kept as text: some phones exceed 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    pub username: &'a [u8],
    pub session_id: &'a [u8],
    pub version: &'a [u8],
    pub address: &'a [u8],
}

impl<'a> Origin<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let mut rest = value;
        let [username, session_id, version, net, _family, address] =
            core::array::from_fn(|_| word(&mut rest));
        let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let read = digits(session_id)
            && digits(version)
            && net.eq_ignore_ascii_case(b"IN")
            && !address.is_empty();
        read.then_some(Self { username, session_id, version, address })
    }
}

/// What identifies one description among those of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    session: u64,
    version: u64,
    body: u64,
}

/// How a description relates to the one before it in the same dialog (RFC 3264 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Same session and version: a session refresh, nothing to renegotiate.
    Unchanged,
    /// Same version, other text: the peer forgot to count; treat it as new.
    Uncounted,
    /// A new version of the same session.
    NewVersion,
    /// Another session altogether (the peer was replaced behind its dialog).
    NewSession,
}

impl Stamp {
    /// How `later` differs from `self`.
    #[must_use]
    pub fn change(&self, later: &Self) -> Change {
        if self.session != later.session {
            Change::NewSession
        } else if self.version != later.version {
            Change::NewVersion
        } else if self.body != later.body {
            Change::Uncounted
        } else {
            Change::Unchanged
        }
    }
}
