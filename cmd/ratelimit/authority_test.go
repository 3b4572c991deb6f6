package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// credentials makes the server trust an operator, and returns a credentials
// file of a user in one of the operator's accounts.
func credentials(opts *server.Options) (creds []byte, err error) {
	operator, err1 := nkeys.CreateOperator()
	account, err2 := nkeys.CreateAccount()
	user, err3 := nkeys.CreateUser()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	accountClaims := jwt.NewAccountClaims(publicKey(account))
	accountJWT, err1 := accountClaims.Encode(operator)
	userJWT, err2 := jwt.NewUserClaims(publicKey(user)).Encode(account)
	seed, err3 := user.Seed()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(publicKey(account), accountJWT); err != nil {
		return nil, err
	}
	opts.TrustedKeys = []string{publicKey(operator)}
	opts.AccountResolver = resolver
	return jwt.FormatUserConfig(userJWT, seed)
}

// publicKey cannot fail for a key that was just made.
func publicKey(k nkeys.KeyPair) string {
	public, err := k.PublicKey()
	if err != nil {
		panic(err)
	}
	return public
}

// certificates makes the server speak TLS, and only to clients with a
// certificate. It returns PEM files: that of the authority, and a client's
// certificate and key.
func certificates(opts *server.Options) (ca, cert, key []byte, err error) {
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	sign := func(template *x509.Certificate, of *ecdsa.PrivateKey) ([]byte, error) {
		der, err := x509.CreateCertificate(rand.Reader, template, authority, &of.PublicKey, authorityKey)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
	}
	if ca, err = sign(authority, authorityKey); err != nil {
		return nil, nil, nil, err
	}
	// One certificate does for both ends.
	peer := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "peer"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	peerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(peerKey)
	if err != nil {
		return nil, nil, nil, err
	}
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if cert, err = sign(peer, peerKey); err != nil {
		return nil, nil, nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	opts.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	opts.TLSTimeout = 5
	return ca, cert, key, nil
}
