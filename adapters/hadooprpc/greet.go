package hadooprpc

import (
	"errors"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/digest"
	"fairway/adapters/hadooprpc/wire"
)

const (
	methodToken  = "TOKEN"
	methodSimple = "SIMPLE"
	maxUserName  = 255 // bytes
)

// negotiation is how far SASL has come on a connection that asked for it.
type negotiation struct {
	offered bool    // our NEGOTIATE was sent
	nonce   string  // of our challenge, "" before one was made
	token   bool    // the client has chosen TOKEN
	caller  *Caller // who it is: done
	simple  bool    // the client goes on with SIMPLE: done
}

func (n *negotiation) done() bool { return n.caller != nil || n.simple }

// negotiate handles a SASL packet.
func (c *conn) negotiate(body []byte) error {
	n := c.sasl
	if n == nil {
		return invalidHeader(saslCallID, "SASL protocol not requested by client")
	}
	var m wire.RpcSaslProto
	if err := proto.Unmarshal(body, &m); err != nil {
		return unreadable(saslCallID, "sasl: %v", err)
	}
	if m.GetState() == wire.RpcSaslProto_WRAP {
		return invalidHeader(saslCallID, "Server is not wrapping data")
	}
	if n.done() {
		return unauthorized(Errorf(AccessControlException, "Negotiation is already complete"))
	}
	switch m.GetState() {
	case wire.RpcSaslProto_NEGOTIATE:
		if n.offered {
			return unauthorized(Errorf(AccessControlException, "Client already attempted negotiation"))
		}
		return c.offer()
	case wire.RpcSaslProto_INITIATE:
		return c.initiate(&m)
	case wire.RpcSaslProto_RESPONSE:
		if !n.token {
			return unauthorized(Errorf(SaslException, "Client sent unsupported state"))
		}
		return c.prove(m.GetToken())
	}
	return unauthorized(Errorf(SaslException, "Client sent unsupported state"))
}

// offer says what we accept. Only SIMPLE is said by SUCCESS: the client switches.
func (c *conn) offer() error {
	n := c.sasl
	n.offered = true
	if c.s.o.Secrets == nil {
		n.simple = true
		c.sendSasl(&wire.RpcSaslProto{State: wire.RpcSaslProto_SUCCESS.Enum()})
		return nil
	}
	n.nonce = digest.NewNonce()
	auth := tokenAuth()
	auth.Challenge = digestChallenge(n.nonce)
	auths := []*wire.RpcSaslProto_SaslAuth{auth}
	if c.s.o.Simple {
		auths = append(auths, simpleAuth())
	}
	c.sendSasl(&wire.RpcSaslProto{State: wire.RpcSaslProto_NEGOTIATE.Enum(), Auths: auths})
	return nil
}

func tokenAuth() *wire.RpcSaslProto_SaslAuth {
	return &wire.RpcSaslProto_SaslAuth{Method: proto.String(methodToken), Mechanism: proto.String(digestMechanism), Protocol: proto.String(""), ServerId: proto.String(digestServer)}
}

func simpleAuth() *wire.RpcSaslProto_SaslAuth {
	return &wire.RpcSaslProto_SaslAuth{Method: proto.String(methodSimple), Mechanism: proto.String("")}
}

func sameAuth(a, b *wire.RpcSaslProto_SaslAuth) bool {
	return a.GetMethod() == b.GetMethod() && a.GetMechanism() == b.GetMechanism() && a.GetProtocol() == b.GetProtocol() && a.GetServerId() == b.GetServerId()
}

// initiate takes the client's choice.
func (c *conn) initiate(m *wire.RpcSaslProto) error {
	n := c.sasl
	if len(m.GetAuths()) != 1 {
		return unauthorized(Errorf(SaslException, "Client mechanism is malformed"))
	}
	choice := m.GetAuths()[0]
	switch {
	case c.s.o.Secrets != nil && sameAuth(choice, tokenAuth()):
		n.token = true
		if len(m.GetToken()) == 0 || n.nonce == "" {
			if n.nonce == "" {
				n.nonce = digest.NewNonce()
			}
			n.offered = true
			c.sendSasl(&wire.RpcSaslProto{State: wire.RpcSaslProto_CHALLENGE.Enum(), Token: digestChallenge(n.nonce)})
			return nil
		}
		return c.prove(m.GetToken())
	case c.s.o.Simple && sameAuth(choice, simpleAuth()):
		n.simple = true
		return nil // the client does not wait for an answer
	case n.offered:
		available := "[" + methodToken + "]"
		if c.s.o.Secrets == nil {
			available = "[" + methodSimple + "]"
		} else if c.s.o.Simple {
			available = "[" + methodToken + ", " + methodSimple + "]"
		}
		return unauthorized(Errorf(AccessControlException, "%.40s authentication is not enabled.  Available:%s", choice.GetMethod(), available))
	}
	return c.offer()
}

// prove checks the client's answer to our challenge.
func (c *conn) prove(answer []byte) error {
	n := c.sasl
	reply, err := parseDigestReply(answer, n.nonce)
	if err != nil {
		return unauthorized(Errorf(SaslException, "DIGEST-MD5: %v", err))
	}
	secret, err := c.s.o.Secrets(c.ctx, reply.identifier)
	if err != nil {
		var e *Exception
		if !errors.As(err, &e) {
			e = &Exception{Class: InvalidToken, Message: err.Error()}
		}
		return unauthorized(e)
	}
	proof, ok := reply.check(secret.Password, n.nonce)
	if !ok {
		return unauthorized(Errorf(SaslException, "DIGEST-MD5: digest response format violation. Mismatched response."))
	}
	n.caller = &Caller{User: secret.User, RealUser: secret.RealUser, Token: &Token{Kind: secret.Kind, Identifier: reply.identifier}, Remote: c.nc.RemoteAddr(), Value: secret.Value}
	c.d.known(c) // whom we know is not pushed out by those we do not
	c.sendSasl(&wire.RpcSaslProto{State: wire.RpcSaslProto_SUCCESS.Enum(), Token: proof})
	return nil
}

// context takes who calls and what for; calls may follow.
func (c *conn) context(body []byte) error {
	switch {
	case c.user != nil:
		return invalidHeader(contextCallID, "Connection context already processed")
	case c.sasl != nil && !c.sasl.done():
		return invalidHeader(contextCallID, "Connection header sent during SASL negotiation")
	}
	message, _, err := delimited(body)
	if err != nil {
		return unreadable(contextCallID, "connection context: %v", err)
	}
	var m wire.IpcConnectionContextProto
	if err := proto.Unmarshal(message, &m); err != nil {
		return unreadable(contextCallID, "connection context: %v", err)
	}
	user, real := m.GetUserInfo().GetEffectiveUser(), m.GetUserInfo().GetRealUser()
	var caller *Caller
	if c.sasl != nil && c.sasl.caller != nil {
		caller = c.sasl.caller
		if user != "" && user != caller.User || real != "" && real != caller.RealUser {
			return unauthorized(Errorf(AccessControlException, "Authenticated user (%s (auth:TOKEN)) doesn't match what the client claims to be (%.255q)", caller.User, user))
		}
	} else {
		caller = &Caller{User: user, RealUser: real, Remote: c.nc.RemoteAddr()}
		if !validUser(user) || real != "" && !validUser(real) {
			return unauthorized(Errorf(AccessControlException, "%.255q is no user name", user))
		}
		if real == user {
			caller.RealUser = ""
		}
		if caller.RealUser != "" {
			if err := c.s.impersonate(caller); err != nil {
				return err
			}
		}
	}
	caller.Protocol = m.GetProtocol()
	c.opened(caller)
	return nil
}

func (s *Server) impersonate(caller *Caller) error {
	err := error(Errorf(AuthorizationException, "User: %s is not allowed to impersonate %s", caller.RealUser, caller.User))
	if s.o.Impersonate != nil {
		if err = s.o.Impersonate(caller); err == nil {
			return nil
		}
	}
	var e *Exception
	if !errors.As(err, &e) {
		e = &Exception{Class: AuthorizationException, Message: err.Error()}
	}
	return unauthorized(e)
}

func validUser(name string) bool {
	if name == "" || len(name) > maxUserName || !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// opened makes a half-open connection an open one.
func (c *conn) opened(caller *Caller) {
	c.user = caller
	c.slots = make(chan struct{}, c.s.o.Limits.Calls)
	c.large = make(chan struct{}, 1)
	c.sasl = nil
	c.lastCall.Store(c.d.now.Load())
	c.open.Store(true)
	c.d.known(c)
}
