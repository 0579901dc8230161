//! What this binary is: version, source, target and cryptography.

use std::fmt::{self, Display, Formatter};

/// What `claimgate --version` prints after the name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `claimgate --version --verbose` prints: one fact per line, for a report or an audit.
#[derive(Debug)]
pub struct Build {
    cryptography: Cryptography,
}

/// The linked library that checks signatures and speaks TLS.
#[derive(Debug, PartialEq, Eq)]
struct Cryptography {
    /// The release of AWS-LC, such as `5.1.0`.
    release: &'static str,
    /// The version of the FIPS module, if the binary was built with the feature `fips`.
    fips_module: Option<u32>,
}

/// The binary was built with the feature `fips`, but AWS-LC does not run in FIPS mode.
#[derive(Debug, thiserror::Error)]
#[error("this build promises FIPS mode, but AWS-LC does not run in it: {0}")]
pub struct NotFips(&'static str);

impl Build {
    /// Asks the linked library.
    ///
    /// # Errors
    ///
    /// Fails if the build has the feature `fips` and the library does not run in FIPS mode.
    pub fn read() -> Result<Self, NotFips> {
        let fips = cfg!(feature = "fips");
        if fips {
            aws_lc_rs::try_fips_mode().map_err(NotFips)?;
        }
        let fips_module = aws_lc_rs::fips_version().filter(|_| fips);
        Ok(Self {
            cryptography: Cryptography {
                release: aws_lc_rs::awslc_version(),
                fips_module,
            },
        })
    }

    /// The library, in the words of `--version --verbose` and of the log.
    pub fn cryptography(&self) -> impl Display {
        &self.cryptography
    }
}

impl Display for Build {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let development = match cfg!(feature = "dev") {
            true => "included: `claimgate dev` mints any token, on loopback only",
            false => "left out",
        };
        writeln!(f, "claimgate {VERSION}")?;
        writeln!(
            f,
            "commit: {}",
            option_env!("CLAIMGATE_COMMIT").unwrap_or("unknown")
        )?;
        writeln!(f, "target: {}", env!("CLAIMGATE_TARGET"))?;
        writeln!(f, "compiler: {}", env!("CLAIMGATE_COMPILER"))?;
        writeln!(f, "TLS and signatures: {}", self.cryptography)?;
        write!(f, "development issuer: {development}")
    }
}

impl Display for Cryptography {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            release,
            fips_module,
        } = self;
        match fips_module {
            Some(module) => write!(
                f,
                "rustls with AWS-LC {release}, FIPS mode, module {module}"
            ),
            None => write!(f, "rustls with AWS-LC {release}, not FIPS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cryptography;

    #[test]
    fn cryptography_says_whether_it_is_fips() {
        let cases = [
            (None, "rustls with AWS-LC 3.4.0, not FIPS"),
            (Some(3), "rustls with AWS-LC 3.4.0, FIPS mode, module 3"),
        ];
        for (fips_module, text) in cases {
            let cryptography = Cryptography {
                release: "3.4.0",
                fips_module,
            };
            assert_eq!(cryptography.to_string(), text);
        }
    }
}
