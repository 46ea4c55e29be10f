//! RTP and RTCP: views, in-place rewrite, statistics, reports, quality (RFC 3550)
