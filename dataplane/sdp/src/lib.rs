//! SDP: borrowed reader, owned writer, offer and answer (RFC 4566/8866, RFC 3264)
