//! Decompresses by the name of the file, as Druid does, in streams of bounded memory.

use std::io::{self, BufReader, Read};

use crate::error::InputError;
use crate::limits;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`, of one member or many.
    Gzip,
    /// `.zst`, of one frame or many.
    Zstd,
    /// `.bz2`, of one stream or many.
    Bzip2,
    /// `.xz`, of one stream or many.
    Xz,
    /// `.sz` or `.zip`, which Druid reads and henge does not.
    Unsupported(&'static str),
}

impl Compression {
    /// Tells the compression from the name of a file.
    pub fn of_name(name: &str) -> Self {
        let extension = name
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            Some("bz2") => Self::Bzip2,
            Some("xz") => Self::Xz,
            Some("sz") => Self::Unsupported("sz"),
            Some("zip") => Self::Unsupported("zip"),
            _ => Self::None,
        }
    }

    /// Gives the first bytes of every file of this kind, and its name for people.
    fn magic(self) -> (&'static [u8], &'static str) {
        match self {
            Self::Gzip => (&[0x1f, 0x8b], "gzip"),
            Self::Zstd => (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
            Self::Bzip2 => (b"BZh", "bzip2"),
            Self::Xz => (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
            Self::None | Self::Unsupported(_) => (&[], ""),
        }
    }

    /// Puts the decompressor in front of stored bytes. The first bytes are looked at, so that a file with the wrong name is
    /// told apart from a damaged one.
    pub(crate) fn decoder(
        self,
        file: &str,
        mut stored: Box<dyn Read + Send>,
    ) -> Result<Box<dyn Read + Send>, InputError> {
        if let Self::Unsupported(extension) = self {
            return Err(InputError::Unsupported {
                what: "compression",
                name: format!(".{extension}"),
                supported: ".gz, .zst, .bz2, .xz",
            });
        }
        if self == Self::None {
            return Ok(stored);
        }
        let (magic, name) = self.magic();
        let mut head = vec![0; magic.len()];
        let mut have = 0;
        while have < head.len() {
            match stored.read(&mut head[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(InputError::io("read", file, e)),
            }
        }
        head.truncate(have);
        // zstd allows frames that are to be skipped (0x184d2a5?) before the first real one.
        let skippable =
            self == Self::Zstd && head.len() == 4 && head[0] & 0xf0 == 0x50 && head[1..] == [0x2a, 0x4d, 0x18];
        if have == 0 {
            return Ok(Box::new(io::empty()));
        }
        if head != magic && !skippable {
            let reason = format!("its name says {name}, its first bytes {head:02x?} do not; rename it or compress it");
            return Err(InputError::corrupt(file, reason));
        }
        let whole = BufReader::with_capacity(64 << 10, io::Cursor::new(head).chain(stored));
        let setup = |e: io::Error| InputError::io("set up the decompression of", file, e);
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(whole).map_err(setup)?;
                decoder.window_log_max(limits::MAX_ZSTD_WINDOW_LOG).map_err(setup)?;
                Box::new(decoder)
            }
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    limits::MAX_XZ_MEMORY_BYTES,
                    liblzma::stream::CONCATENATED,
                );
                let stream = stream.map_err(|e| setup(io::Error::other(e)))?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream))
            }
            Self::None | Self::Unsupported(_) => Box::new(whole),
        })
    }
}
