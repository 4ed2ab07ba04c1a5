//! Which lines call wp-cron: the forms of hosters' pages, plugins' notices and provisioning scripts.

use super::super::{Call, WpCron, call, wp_cron};

const FORMS: &[(&str, &str)] = &[
    // curl
    ("curl https://example.com/wp-cron.php", "url https://example.com/wp-cron.php"),
    (
        "curl -s https://example.com/wp-cron.php?doing_wp_cron >/dev/null 2>&1",
        "url https://example.com/wp-cron.php?doing_wp_cron",
    ),
    (
        "/usr/bin/curl --silent 'https://example.com/wp-cron.php?doing_wp_cron' > /dev/null",
        "url https://example.com/wp-cron.php?doing_wp_cron",
    ),
    (
        "curl -sS -o /dev/null \"https://example.com/wp-cron.php?doing_wp_cron&x=1\"",
        "url https://example.com/wp-cron.php?doing_wp_cron&x=1",
    ),
    ("curl -fsSLo /dev/null https://example.com/wp-cron.php", "url https://example.com/wp-cron.php"),
    (
        "curl -vs -o /dev/null http://www.example.com/wp-cron.php?doing_wp_cron > /dev/null 2>&1",
        "url http://www.example.com/wp-cron.php?doing_wp_cron",
    ),
    ("curl --max-time=120 --retry 3 https://example.com/wp-cron.php", "url https://example.com/wp-cron.php"),
    ("curl -k https://example.com/wp-cron.php", "url https://example.com/wp-cron.php"),
    ("curl example.com/wp-cron.php", "url http://example.com/wp-cron.php"),
    ("curl --url https://example.com/blog/wp-cron.php", "url https://example.com/blog/wp-cron.php"),
    ("curl -X GET https://example.com/wp-cron.php", "url https://example.com/wp-cron.php"),
    ("curl -s https://example.com/wp-cron.php | logger -t wpcron", "url https://example.com/wp-cron.php"),
    ("curl -s https://example.com/wp-cron.php || true", "url https://example.com/wp-cron.php"),
    (
        "/usr/bin/curl -s -u USER:SECRET -o /dev/null -L https://admin.domain.tld/wp-cron.php?doing_wp_cron",
        "url https://admin.domain.tld/wp-cron.php?doing_wp_cron !sends a password",
    ),
    ("curl -H 'Host: example.com' http://127.0.0.1/wp-cron.php", "url http://127.0.0.1/wp-cron.php !`curl -H`"),
    (
        "curl --resolve example.com:443:127.0.0.1 https://example.com/wp-cron.php",
        "url https://example.com/wp-cron.php !`curl --resolve`",
    ),
    ("curl -X POST https://example.com/wp-cron.php", "url https://example.com/wp-cron.php !`curl -X`"),
    ("curl -s $SITE/wp-cron.php", "url http://$SITE/wp-cron.php !only a shell knows"),
    // wget
    (
        "wget -q -O - https://yoursite.com/wp-cron.php?doing_wp_cron >/dev/null 2>&1",
        "url https://yoursite.com/wp-cron.php?doing_wp_cron",
    ),
    (
        "wget -O /dev/null https://exampledomain.com/wp-cron.php?doing_wp_cron > /dev/null 2>&1",
        "url https://exampledomain.com/wp-cron.php?doing_wp_cron",
    ),
    ("wget -qO- http://example.com/wp-cron.php &> /dev/null", "url http://example.com/wp-cron.php"),
    ("wget -qO /dev/null http://example.com/wp-cron.php", "url http://example.com/wp-cron.php"),
    ("/usr/bin/wget -q --spider http://localhost/wp-cron.php > /dev/null", "url http://localhost/wp-cron.php"),
    ("wget --delete-after http://example.com/wp-cron.php", "url http://example.com/wp-cron.php"),
    (
        "wget --quiet --tries=1 --timeout=300 --output-document=/dev/null \"https://example.com/wp-cron.php\"",
        "url https://example.com/wp-cron.php",
    ),
    (
        "wget --no-check-certificate -q https://example.com/wp-cron.php -O /dev/null",
        "url https://example.com/wp-cron.php",
    ),
    ("wget -t 1 -T 900 -nv -O- example.com/wp-cron.php", "url http://example.com/wp-cron.php"),
    ("wget --header='Host: x' http://127.0.0.1/wp-cron.php", "url http://127.0.0.1/wp-cron.php !`wget --header`"),
    (
        "wget --user=a --password=b https://example.com/wp-cron.php",
        "url https://example.com/wp-cron.php !sends a password",
    ),
    // others that fetch
    ("GET https://example.com/wp-cron.php > /dev/null", "url https://example.com/wp-cron.php"),
    ("lynx -dump https://example.com/wp-cron.php > /dev/null 2>&1", "url https://example.com/wp-cron.php"),
    ("lynx -source http://example.com/wp-cron.php", "url http://example.com/wp-cron.php"),
    ("links -dump http://example.com/wp-cron.php", "url http://example.com/wp-cron.php"),
    ("fetch -qo /dev/null https://example.com/wp-cron.php", "url https://example.com/wp-cron.php"),
    (
        "/usr/local/bin/urlget https://example.com/wp-cron.php",
        "url https://example.com/wp-cron.php !`urlget` is not known",
    ),
    // php
    ("php /var/www/html/wp-cron.php", "file /var/www/html/wp-cron.php"),
    (
        "/usr/bin/php /home/account/public_html/wp-cron.php >/dev/null 2>&1",
        "file /home/account/public_html/wp-cron.php",
    ),
    ("cd /home/username/public_html; php -q wp-cron.php", "file /home/username/public_html/wp-cron.php"),
    (
        "cd /home/CPUSER/public_html && /usr/local/bin/php -q wp-cron.php > /dev/null 2>&1",
        "file /home/CPUSER/public_html/wp-cron.php",
    ),
    ("/usr/local/bin/ea-php81 -q /home/u/public_html/wp-cron.php", "file /home/u/public_html/wp-cron.php"),
    ("/opt/cpanel/ea-php82/root/usr/bin/php -q $HOME/public_html/wp-cron.php", "file public_html/wp-cron.php"),
    (
        "/opt/plesk/php/8.1/bin/php -f /var/www/vhosts/example.com/httpdocs/wp-cron.php",
        "file /var/www/vhosts/example.com/httpdocs/wp-cron.php",
    ),
    ("/opt/alt/php82/usr/bin/php ~/public_html/wp-cron.php", "file public_html/wp-cron.php"),
    ("php8.2 -d memory_limit=512M -d max_execution_time=0 /var/www/html/wp-cron.php", "file /var/www/html/wp-cron.php"),
    ("php-cli -c /etc/php.ini public_html/wp-cron.php", "file public_html/wp-cron.php"),
    ("/usr/bin/php8.1-cli /htdocs/wp-cron.php doing_wp_cron", "file /htdocs/wp-cron.php"),
    ("lsphp /home/u/www/wp-cron.php", "file /home/u/www/wp-cron.php"),
    (
        "su daemon -s /bin/sh -c \"cd /opt/bitnami/apps/wordpress/htdocs/; /opt/bitnami/php/bin/php -q wp-cron.php\"",
        "file /opt/bitnami/apps/wordpress/htdocs/wp-cron.php as daemon",
    ),
    (
        "/bin/sh -c \"cd /opt/bitnami/wordpress; php -q wp-cron.php\" &>/dev/null",
        "file /opt/bitnami/wordpress/wp-cron.php",
    ),
    ("cd /var/www/$SITE && php wp-cron.php", "file /var/www/$SITE/wp-cron.php !only a shell knows"),
    ("[ -f /var/www/html/wp-cron.php ] && php /var/www/html/wp-cron.php", "file /var/www/html/wp-cron.php"),
    ("cd ~ && php wp-cron.php", "file wp-cron.php"),
    ("php ~deploy/wp-cron.php", "file ~deploy/wp-cron.php !only a shell knows what `~deploy/"),
    // WP-CLI
    ("wp cron event run --due-now", "wp"),
    ("cd /var/www/html && wp cron event run --due-now > /dev/null 2>&1", "wp path=/var/www/html"),
    ("cd /var/www/html; /usr/local/bin/wp cron event run --due-now --quiet", "wp path=/var/www/html"),
    ("wp cron event run --due-now --path=/var/www/html", "wp path=/var/www/html"),
    ("wp --path=/var/www/html cron event run --due-now", "wp path=/var/www/html"),
    ("/usr/local/bin/wp --allow-root --path='/srv/my site' cron event run --due-now", "wp path=/srv/my site"),
    ("sudo -u www-data wp cron event run --due-now --path=/var/www/html", "wp path=/var/www/html as www-data"),
    ("sudo -Hu www-data -- wp cron event run --due-now --path=/var/www/html", "wp path=/var/www/html as www-data"),
    (
        "su - www-data -s /bin/bash -c 'cd /var/www/html && wp cron event run --due-now'",
        "wp path=/var/www/html as www-data",
    ),
    ("runuser -u www-data -- wp --path=/var/www/html cron event run --due-now", "wp path=/var/www/html as www-data"),
    (
        "cd /srv/www/example.com/current && (wp core is-installed || :) ; wp cron event run --due-now > /dev/null 2>&1",
        "wp path=/srv/www/example.com/current",
    ),
    ("/usr/bin/php /usr/local/bin/wp cron event run --due-now --path=/var/www/html", "wp path=/var/www/html"),
    ("php8.2 ~/wp-cli.phar --path=$HOME/public_html cron event run --due-now", "wp path=public_html"),
    ("flock -n /tmp/wpcron.lock wp cron event run --due-now --path=/var/www/html", "wp path=/var/www/html"),
    ("flock -w 10 /tmp/l -c 'wp cron event run --due-now --path=/var/www/html'", "wp path=/var/www/html"),
    (
        "nice -n 19 ionice -c3 timeout -k 5 300 wp cron event run --due-now --path=/var/www/html",
        "wp path=/var/www/html",
    ),
    ("/usr/bin/env WP_CLI_CACHE_DIR=/tmp wp cron event run --due-now --path=/x", "wp path=/x"),
    ("WP_ENV=production wp cron event run --due-now --path=/x >> /var/log/wp.log 2>&1", "wp path=/x"),
    ("sleep 30; wp cron event run --due-now --path=/x", "wp path=/x"),
    ("sleep $((RANDOM % 60)) && wp cron event run --due-now --path=/x", "wp path=/x"),
    (
        "wp cron event run --due-now --url=https://site1.example.com --path=/x",
        "wp path=/x url=https://site1.example.com",
    ),
    ("cd /x && wp site list --field=url | xargs -I {} wp cron event run --due-now --url={}", "wp path=/x url={} !loop"),
    (
        "wp --path=/x site list --field=url --archived=0 | xargs -n1 -i% wp --path=/x cron event run --due-now --url=%",
        "wp path=/x url=% !loop",
    ),
    (
        "for url in $(wp site list --field=url --path=/x); do wp cron event run --due-now --url=$url --path=/x; done",
        "wp path=/x url=$url !loop",
    ),
    ("if pgrep php; then wp cron event run --due-now --path=/x; fi", "wp path=/x !condition"),
    ("docker exec -u www-data wordpress wp cron event run --due-now", "wp !`docker` runs it somewhere else"),
    (
        "docker compose -f /srv/c.yml exec -T php php /var/www/html/wp-cron.php",
        "file /var/www/html/wp-cron.php !`docker`",
    ),
    ("ssh web 'cd /x && wp cron event run --due-now'", "wp path=/x !`ssh` runs it somewhere else"),
    ("wp @prod cron event run --due-now", "wp !alias"),
    ("wp --ssh=u@h cron event run --due-now", "wp !another machine"),
    ("wp cron event run --due-now --exclude=heavy --path=/x", "wp path=/x !leaves hooks out"),
    (
        "wget -q -O- http://a.example/wp-cron.php; wget -q -O- http://b.example/wp-cron.php",
        "url http://a.example/wp-cron.php !more than one wp-cron",
    ),
    (
        "wp cron event run --due-now --path=/x && /usr/local/bin/backup",
        "wp path=/x !does more than call wp-cron: `backup`",
    ),
    (
        "wp cron event run --due-now --path=/x && curl -fsS https://hc-ping.com/uuid",
        "wp path=/x !does more than call wp-cron: `curl`",
    ),
    ("wp cron event run --due-now --path=\"/x", "wp !cannot be read"),
    ("php-cgi /x/wp-cron.php import_key=K action=trigger", "file /x/wp-cron.php !hands `import_key=K`"),
    ("curl -s https://example.com/wp-cron.php?1764000000", "url https://example.com/wp-cron.php?1764000000"),
    (
        "curl -s 'https://example.com/wp-cron.php?doing_wp_cron=1764000000.1234&t=1#x'",
        "url https://example.com/wp-cron.php?doing_wp_cron=1764000000.1234&t=1#x",
    ),
    // Not wp-cron: a plugin's own trigger, and other addresses.
    ("wget -O- \"https://example.com/wp-cron.php?import_key=K&import_id=5&action=trigger\"", ""),
    ("curl -s 'https://example.com/wp-cron.php?doing_wp_cron&import_key=K'", ""),
    ("curl -s 'https://example.com/wp-cron.php?import=5'", ""),
    ("urlget 'https://example.com/wp-cron.php?import_key=K'", ""),
    ("curl -s https://example.com/a.php?f=wp-cron.php", ""),
    ("curl -s https://example.com/a.php?f=/wp-cron.php", ""),
    ("curl -s https://example.com/wp-cron.php/x", ""),
    ("curl -s https://example.com/my-wp-cron.php", ""),
    ("curl -s https://wp-cron.php", ""),
    // Nor these.
    ("wp cron event run wc_import --path=/x", ""),
    ("wp cron event run --all --path=/x", ""),
    ("wp cron event list --due-now", ""),
    ("wp plugin update --all --path=/x", ""),
    ("/usr/local/bin/backup --full", ""),
    ("curl -s https://example.com/cron.php", ""),
    ("php /var/www/moodle/admin/cli/cron.php", ""),
    ("php -r 'echo 1;' wp-cron.php", ""),
    ("rm -f /var/www/html/wp-cron.php", ""),
    ("echo https://example.com/wp-cron.php", ""),
    ("/usr/bin/phpdbg wp-cron.php", ""),
    ("php artisan schedule:run >> /dev/null 2>&1", ""),
];

fn shown(call: &Call) -> String {
    let mut text = match &call.wp_cron {
        WpCron::Url(url) => format!("url {url}"),
        WpCron::File(path) => format!("file {}", path.display()),
        WpCron::WpCli { path, url } => {
            let path = path.as_ref().map(|path| format!(" path={}", path.display())).unwrap_or_default();
            format!("wp{path}{}", url.as_ref().map(|url| format!(" url={url}")).unwrap_or_default())
        }
    };
    if let Some(user) = &call.user {
        text += &format!(" as {user}");
    }
    text
}

#[test]
fn lines_that_call_wp_cron_are_known() {
    assert!(FORMS.len() > 90, "{}", FORMS.len());
    let mut wrong = Vec::new();
    for (line, expected) in FORMS {
        let found = call(line, &[]);
        let (expected, obstacle) = expected.split_once(" !").map_or((*expected, None), |(e, o)| (e, Some(o)));
        let text = found.as_ref().map(shown).unwrap_or_default();
        let said = found.as_ref().and_then(|call| call.obstacle.clone());
        let is_said = match (obstacle, &said) {
            (Some(expected), Some(said)) => said.contains(expected),
            (expected, said) => expected.is_none() && said.is_none(),
        };
        if text != expected || !is_said {
            wrong.push(format!("{line}\n   found    {text} {said:?}\n   expected {expected} {obstacle:?}"));
        }
        assert_eq!(wp_cron(line), found.map(|call| call.wp_cron), "{line}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn variables_above_the_line_are_put_in() {
    let variables = [("SITE".to_string(), "https://example.com".to_string()), ("HOME".into(), "/home/a".into())];
    let found = |line| call(line, &variables).expect(line);
    assert_eq!(shown(&found("curl -s ${SITE}/wp-cron.php")), "url https://example.com/wp-cron.php");
    assert_eq!(shown(&found("cd ~/www && php wp-cron.php")), "file /home/a/www/wp-cron.php");
    assert_eq!(found("curl -s \"$SITE/wp-cron.php\"").obstacle, None);
}
