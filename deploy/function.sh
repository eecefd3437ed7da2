# shellcheck shell=bash
# The function: who builds it, with which settings, open to the internet, and whether it answers.
# Sourced by deploy.sh.

choose_settings() { # as given, else as the service has it, else this script's own
  EVENT_SUBJECT=${EVENT_SUBJECT:-$(live env.EVENT_SUBJECT)}
  SALESFORCE_API_VERSION=${SALESFORCE_API_VERSION:-$(live env.SALESFORCE_API_VERSION)}
  BUILDER=${BUILDER:-$(live builder)}
  choose_size MAX_INSTANCES max-instances 10
  choose_size CONCURRENCY concurrency 80
  choose_size MEMORY memory 512Mi
  choose_size CPU cpu 1
  choose_size TIMEOUT timeout 60
  SOURCE_DIGEST=$(digest_of_source)
}

choose_size() { # VARIABLE KEY OWN
  local given=${!1:-} now
  now=$(live "$2")
  if [[ ! $given && $now && $now != "$3" ]]; then
    say "$2 of the function: stays $now ($3 is this script's own)"
  fi
  printf -v "$1" '%s' "${given:-${now:-$3}}"
}

digest_of_source() { # print a fingerprint of the files that are deployed
  local file
  gcloud meta list-files-for-upload "$HERE" | LC_ALL=C sort | while IFS= read -r file; do
    printf '%s\n' "$file"
    cat "$HERE/$file"
  done | digest
}

digest() {
  "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:40])'
}

settings_for() { # KEY_NAME: print the settings that function and jobs read, NAME=VALUE lines
  local secrets=projects/$PROJECT/secrets
  printf '%s\n' "SIGNING_SECRETS=$secrets/$SIGNING_SECRETS_NAME" \
    "SALESFORCE_CREDENTIALS=$secrets/$CREDENTIALS_NAME" \
    "RETRY_QUEUE=projects/$PROJECT/locations/$REGION/queues/$QUEUE" \
    "FUNCTION_URL=$URL" "THREADS=$CONCURRENCY" \
    ${EVENT_SUBJECT:+"EVENT_SUBJECT=$EVENT_SUBJECT"} \
    ${SALESFORCE_API_VERSION:+"SALESFORCE_API_VERSION=$SALESFORCE_API_VERSION"}
  if keeps_key; then printf '%s\n' "CLOCKIFY_API_KEY=$secrets/$1"; fi
}

joined() { # LINES: the same in gcloud's notation with ~~ between
  printf '^~~^%s' "${1//$'\n'/~~}"
}

allow_build() { # Cloud Build's account may build: old projects have it so, new ones do not
  local builder=$BUILDER roles
  if [[ ! $builder ]]; then
    builder=$(gcloud builds get-default-service-account --region="$REGION" \
      --format='value(serviceAccountEmail)' 2>/dev/null) ||
      builder=$PROJECT_NUMBER-compute@developer.gserviceaccount.com
    builder=${builder##*/}
  fi
  if there gcloud iam service-accounts list --filter="email=$builder" --format='value(disabled)' &&
    [[ $FOUND == True ]]; then
    die "the account that builds, $builder, is disabled: run  gcloud iam service-accounts enable" \
      "$builder  or name another one that may build, --build-service-account EMAIL."
  fi
  roles=$(gcloud projects get-iam-policy "$PROJECT" --flatten='bindings[].members' \
    --filter="bindings.members=serviceAccount:$builder" --format='value(bindings.role)' \
    --verbosity=error)
  grep -qxE 'roles/(editor|owner|run.builder|cloudbuild.builds.builder)' <<<"$roles" ||
    change gcloud projects add-iam-policy-binding "$PROJECT" --condition=None \
      --role=roles/run.builder --member="serviceAccount:$builder"
  allow_build() { :; } # once is enough
}

make_function() {
  local pairs settings digest choices now kinds
  pairs=$(settings_for "$API_KEY_NAME")
  settings=(
    --function=clockify_webhook --base-image="$BASE_IMAGE" --service-account="$ACCOUNT"
    --concurrency="$CONCURRENCY" --cpu="$CPU" --memory="$MEMORY" --cpu-boost
    --max-instances="$MAX_INSTANCES" --timeout="$TIMEOUT"
    # Not --set-env-vars: what somebody has added by hand stays.
    --update-env-vars="$(joined "$pairs")"
    ${BUILDER:+--build-service-account="projects/$PROJECT/serviceAccounts/$BUILDER"}
  )
  digest=$(printf '%s\n' "$SOURCE_DIGEST" "${settings[@]}" | digest)
  choices=keep-api-key=$KEEP_API_KEY,nightly-repair=$NIGHTLY${WITH:+,with=${WITH//,/_}}
  if is_as_wanted "$digest" "$pairs"; then
    say "function $SERVICE: is there, same source, same settings"
    kinds=$(live label.with)
    now=keep-api-key=$(live label.keep-api-key),nightly-repair=$(live label.nightly-repair)
    now+=${kinds:+,with=$kinds}
    [[ $now == "$choices" ]] ||
      change gcloud run services update "$SERVICE" --region="$REGION" --update-labels="$choices"
    return
  fi
  if [[ $(live env.CLOCKIFY_API_KEY) ]] && ! keeps_key; then
    settings+=(--remove-env-vars=CLOCKIFY_API_KEY)
  fi
  allow_build
  deploy_openly gcloud run deploy "$SERVICE" --source="$HERE" --region="$REGION" \
    "${settings[@]}" --labels="$MADE_BY,digest=$digest,$choices"
}

is_as_wanted() { # DIGEST PAIRS: whether the service is what would be deployed, also by hand
  local pair
  [[ $(live ready) == True && $(live label.digest) == "$1" ]] || return
  while IFS= read -r pair; do
    grep -qxF "env.$pair" <<<"$LIVE" || return
  done <<<"$2"
  keeps_key || [[ ! $(live env.CLOCKIFY_API_KEY) ]] || return
  is_open
}

is_open() { [[ $(live open) == True ]] || everybody_may_call; }

everybody_may_call() {
  [[ $LIVE && $(gcloud run services get-iam-policy "$SERVICE" --region="$REGION" \
    --flatten='bindings[].members' --format='value(bindings.role)' \
    --filter='bindings.role=roles/run.invoker AND bindings.members=allUsers' \
    2>/dev/null) ]]
}

# Clockify can send no Google token: the signing secret is the lock.
deploy_openly() { # COMMAND...: with the flag that lets everybody in, of the two that there are
  local second=(--invoker-iam-check --allow-unauthenticated)
  if [[ $LIVE && $(live open) != True ]] && everybody_may_call; then
    change "$@" "${second[@]}"
  elif ! try "$@" --no-invoker-iam-check; then
    complains 'invoker_iam|requireInvokerIam' || stopped_by "$@" --no-invoker-iam-check
    say "The organisation forbids --no-invoker-iam-check: trying --allow-unauthenticated instead."
    change "$@" "${second[@]}"
  fi
  # gcloud takes it for a warning.
  [[ $DRY_RUN ]] || ! complains 'setting iam policy failed' ||
    die "your organisation's policy keeps Clockify out, which has no Google account: have its" \
      "administrator exempt project $PROJECT from constraints/run.managed.requireInvokerIam, or" \
      "from constraints/iam.allowedPolicyMemberDomains, and run the same command again."
}

check_answer() { # a request with a made-up signature: 401 tells that the function reads its secrets
  local status='' wait
  for wait in 0 1 2 3 4 6 6 6; do
    if ((wait)); then
      say "The function answers ${status:-nothing} to a stranger, 401 is right: another look in" \
        "$((wait * WAIT_SECONDS)) s."
      sleep $((wait * WAIT_SECONDS))
    fi
    status=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 30 \
      --header 'Content-Type: application/json' --header 'Clockify-Signature: deploy-check' \
      --data '{}' "$URL") || true
    if [[ $status == 401 ]]; then
      say "The function answers, reads its signing secrets, and refuses a stranger (401)."
      return
    fi
  done
  die "the function answers $status instead of 401 to a stranger: see" \
    "gcloud run services logs read $SERVICE --region=$REGION --project=$PROJECT"
}
