//! The panel in wp-admin, attacked: who may see it, who may do what, what a form is good for, and what names can do to it. And
//! what its presence costs every other page.

mod attacks;
mod cost;
mod states;

use crate::support::Site;
use crate::support::http::Page;

const PANEL: &str = "/wp-admin/tools.php?page=wp-cron-runner";

/// Somebody who has logged in.
struct Visitor<'a> {
    site: &'a Site,
    cookies: String,
}

impl<'a> Visitor<'a> {
    fn admin(site: &'a Site) -> Self {
        Self { site, cookies: site.log_in("admin", "admin") }
    }

    /// A new user with this role.
    fn with_role(site: &'a Site, role: &str) -> Self {
        site.php(&format!(
            "$made = wp_insert_user( array( 'user_login' => '{role}', 'user_pass' => '{role}', 'user_email' => '{role}@example.com', 'role' => '{role}' ) );
            if ( is_wp_error( $made ) ) {{ throw new Exception( $made->get_error_message() ); }}"
        ));
        Self { site, cookies: site.log_in(role, role) }
    }

    fn get(&self, path: &str) -> Page {
        self.site.request("GET", path, &[("Cookie", &self.cookies)], "")
    }

    fn panel(&self, query: &str) -> Page {
        self.get(&format!("{PANEL}{query}"))
    }

    /// A form of the panel, by hand.
    fn send(&self, form: &Form) -> Page {
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", self.cookies.as_str())];
        self.site.request("POST", "/wp-admin/admin-post.php", &headers, form.body())
    }

    /// What the panel says on the page that a form leads to.
    fn answer_to(&self, form: &Form) -> String {
        let sent = self.send(form);
        assert_eq!(sent.status, 302, "{form:?}: {}", sent.body);
        let to = sent.header("Location").expect("where to");
        let (_, path) = to.split_once("/wp-admin/").expect("an address in wp-admin");
        let page = self.get(&format!("/wp-admin/{path}"));
        let (_, notice) = page.body.split_once("inline\"><p>").unwrap_or_else(|| panic!("{form:?}: {}", page.body));
        notice.split("</p>").next().expect("its end").to_owned()
    }

    /// A nonce of this very visitor, as if a page had given it to him. Needs `GIVE_NONCES`.
    fn nonce(&self, action: &str, of: &str) -> String {
        let page = self.get(&format!("/?fx_nonce={}", encoded(&format!("wp-cron-runner {action} {of}"))));
        page.body.trim().to_owned()
    }

    fn form(&self, action: &str, of: &str) -> Form {
        Form { action: action.to_owned(), of: of.to_owned(), nonce: self.nonce(action, of) }
    }
}

/// For `Site::add_plugin`: whoever asks gets a nonce that is good for him.
const GIVE_NONCES: &str = "add_action( 'init', function () { if ( isset( $_GET['fx_nonce'] ) ) { exit( wp_create_nonce( wp_unslash( $_GET['fx_nonce'] ) ) ); } } );";

#[derive(Clone, Debug)]
struct Form {
    action: String,
    of: String,
    nonce: String,
}

impl Form {
    fn body(&self) -> String {
        let Form { action, of, nonce } = self;
        format!("action=wp_cron_runner&do={}&of={}&_wpnonce={nonce}", encoded(action), encoded(of))
    }
}

/// All forms of the panel on a page.
fn forms(page: &Page) -> Vec<Form> {
    let value = |form: &str, name: &str| {
        let (_, rest) = form.split_once(&format!("name=\"{name}\" value=\"")).expect("the field");
        rest.split('"').next().expect("its end").replace("&amp;", "&").replace("&#038;", "&")
    };
    let parts = page.body.split("class=\"wpcr-form\"").skip(1);
    parts
        .map(|form| Form { action: value(form, "do"), of: value(form, "of"), nonce: value(form, "_wpnonce") })
        .collect()
}

/// What follows the panel's own address in the links of a page to one screen.
fn links(page: &Page, screen: &str) -> Vec<String> {
    let targets = page.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let queries = targets.filter_map(|url| url.split_once(PANEL)).map(|(_, query)| query.replace("&#038;", "&"));
    queries.filter(|query| query.starts_with(screen)).collect()
}

/// As in an address or a form.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
