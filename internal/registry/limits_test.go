package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestSuccessorsOnlyNarrow(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	site := []string{"read", "jobs", "write"}
	client := netip.MustParseAddr("192.0.2.7")
	for _, c := range []struct {
		name         string
		parent, wish Wish
		want         error
		scopes       []string
		addresses    []netip.Prefix
	}{
		{"nothing, of all", Wish{}, Wish{}, nil, nil, nil},
		{"limits, of all", Wish{}, Wish{Scopes: []string{"read"}, Addresses: prefixes("192.0.2.7/32")}, nil, []string{"read"}, prefixes("192.0.2.7/32")},
		{"nothing, of some", Wish{Scopes: []string{"read", "jobs"}, Addresses: prefixes("192.0.2.0/24")}, Wish{}, nil, []string{"read", "jobs"}, prefixes("192.0.2.0/24")},
		{"one of two scopes", Wish{Scopes: []string{"read", "jobs"}}, Wish{Scopes: []string{"jobs"}}, nil, []string{"jobs"}, nil},
		{"another scope", Wish{Scopes: []string{"read", "jobs"}}, Wish{Scopes: []string{"jobs", "write"}}, ErrForbidden, nil, nil},
		{"none of another site's", Wish{Scopes: []string{"read"}}, Wish{}, nil, []string{"read"}, nil},
		{"an unknown scope", Wish{}, Wish{Scopes: []string{"all"}}, ErrInvalid, nil, nil},
		{"a part of a network", Wish{Addresses: prefixes("10.0.0.0/8", "192.0.2.0/24")}, Wish{Addresses: prefixes("192.0.2.0/25", "192.0.2.7/32")}, nil, nil, prefixes("192.0.2.0/25", "192.0.2.7/32")},
		{"a wider network", Wish{Addresses: prefixes("192.0.2.0/24")}, Wish{Addresses: prefixes("192.0.0.0/16")}, ErrForbidden, nil, nil},
		{"all addresses", Wish{Addresses: prefixes("192.0.2.0/24")}, Wish{Addresses: prefixes("0.0.0.0/0")}, ErrForbidden, nil, nil},
		{"the other family", Wish{Addresses: prefixes("192.0.2.0/24")}, Wish{Addresses: prefixes("::/0")}, ErrForbidden, nil, nil},
		{"an address beside the network", Wish{Addresses: prefixes("192.0.2.0/24")}, Wish{Addresses: prefixes("192.0.2.7/32", "192.0.3.1/32")}, ErrForbidden, nil, nil},
		{"too many addresses", Wish{}, Wish{Addresses: make([]netip.Prefix, MaxAddresses+1)}, ErrInvalid, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, w := range []*Wish{&c.parent, &c.wish} {
				w.Prefix, w.LifetimeSeconds, w.SiteScopes = "cat", 60, site
			}
			value, _, err := f.Issue(context.Background(), p, user("bob"), c.parent)
			if err != nil {
				t.Fatal(err)
			}
			parent, err := f.Authenticate(p, value, client)
			if err != nil {
				t.Fatal(err)
			}
			_, got, err := f.Issue(context.Background(), p, Holder(&parent), c.wish)
			if c.want != nil {
				wantRefusal(t, "renewing", err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.scopes, got.Scopes) + cmp.Diff(c.addresses, got.Addresses, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
				t.Errorf("limited to (-want +got):\n%s", d)
			}
			if stored, err := f.Get(p, user("bob"), got.ID); err != nil || !cmp.Equal(got, stored, alike) {
				t.Errorf("it is stored as %+v, %v", stored, err)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	limited := Wish{Prefix: "cat", LifetimeSeconds: 60, Addresses: prefixes("192.0.2.0/24", "2001:db8::1/128")}
	value, m, err := f.Issue(context.Background(), p, user("bob"), limited)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"192.0.3.1", "2001:db8::2", "::1", "0.0.0.0"} {
		if _, err := f.Authenticate(p, value, netip.MustParseAddr(text)); !errors.Is(err, ErrAddress) {
			t.Errorf("from %s: %v", text, err)
		}
	}
	if _, err := f.Authenticate(p, value, netip.Addr{}); !errors.Is(err, ErrAddress) {
		t.Errorf("from who knows where: %v", err)
	}
	if got, err := f.Get(p, user("bob"), m.ID); err != nil || !got.LastUsed.IsZero() || got.LastUsedAddress.IsValid() {
		t.Errorf("refused, it was used %v from %v, %v", got.LastUsed, got.LastUsedAddress, err)
	}
	for text, want := range map[string]string{"192.0.2.9": "192.0.2.9", "::ffff:192.0.2.8": "192.0.2.8", "2001:db8::1%eth0": "2001:db8::1"} {
		f.clock.advance(1e6)
		if _, err := f.Authenticate(p, value, netip.MustParseAddr(text)); err != nil {
			t.Errorf("from %s: %v", text, err)
		}
		for range 2 {
			if got, err := f.Get(p, user("bob"), m.ID); err != nil || got.LastUsedAddress.String() != want {
				t.Errorf("used from %v, %v, want %s", got.LastUsedAddress, err, want)
			}
			f.mustFlush()
		}
	}
	// It can be told what it is from anywhere.
	if _, err := recognise(f.Registry, p, value); err != nil {
		t.Error(err)
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "2001:DB8::1": "2001:db8::1/128", "192.0.2.77/24": "192.0.2.0/24", "2001:db8::7/32": "2001:db8::/32",
		"0.0.0.0/0": "0.0.0.0/0", "::ffff:192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1/120": "192.0.2.0/24", "::ffff:0:0/96": "0.0.0.0/0",
	} {
		if got, err := ParseAddress(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "bob", "192.0.2", "192.0.2.1/33", "192.0.2.01", "fe80::1%eth0", "fe80::%eth0/64", "192.0.2.1/", "192.0.2.1/024", "::ffff:0:0/95", " 192.0.2.1", "*"} {
		_, err := ParseAddress(text)
		wantRefusal(t, fmt.Sprintf("%q", text), err, ErrInvalid)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, text := range []string{"192.0.2.1", "2001:db8::/32", "::ffff:192.0.2.1/120"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseAddress(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := ParseAddress(p.String())
		if err != nil || again != p || p != p.Masked() || p.Addr().Is4In6() {
			t.Fatalf("%q is %v, and that is %v, %v", text, p, again, err)
		}
	})
}
