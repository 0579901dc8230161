//! One RSA-2048 signature check by aws-lc, with a parsed key.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
};

pub struct Verification {
    key: ParsedPublicKey,
    message: [u8; 700],
    signature: Vec<u8>,
}

impl Verification {
    pub fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let message = [b'a'; 700];
        let mut signature = vec![0; pair.public_modulus_len()];
        let random = SystemRandom::new();
        pair.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature)
            .unwrap();
        let public = pair.public_key().as_ref();
        Self {
            key: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).unwrap(),
            message,
            signature,
        }
    }

    pub fn run(&self) {
        let found = self.key.verify_sig(&self.message, &self.signature);
        assert!(found.is_ok());
    }
}
