// Drives sa-sdk-miniprogram as it comes, in a small stand-in for WeChat's `wx`:
// node mini_program.cjs SERVER_URL USER EVENTS
"use strict";
const http = require("node:http");
const { createRequire } = require("node:module");

const load = createRequire(`${process.env.SIYU_NODE_PACKAGES}/`);
const [serverUrl, user, events] = process.argv.slice(2);
const storage = new Map();
const listeners = { show: [], hide: [] };
let open = 0;

const system = {
  brand: "Apple", model: "iPhone 15", pixelRatio: 3, screenWidth: 390, screenHeight: 844,
  windowWidth: 390, windowHeight: 800, system: "iOS 17.1", platform: "ios",
  version: "8.0.50", SDKVersion: "3.4.0", language: "zh_CN",
};
const give = (value) => ({ success, complete }) => {
  if (success) success(value);
  if (complete) complete(value);
};

function request({ url, method, data, header, success, fail, complete }) {
  open += 1;
  const done = (report) => (value) => {
    open -= 1;
    if (report) report(value);
    if (complete) complete(value);
  };
  const asked = http.request(url, { method, headers: header }, (answer) => {
    answer.resume();
    answer.on("end", () => done(success)({ statusCode: answer.statusCode }));
  });
  asked.on("error", done(fail));
  asked.end(data);
}

// A friend's share card of depth 1 opened the mini-program.
const launch = {
  path: "pages/item",
  scene: 1007,
  query: {
    utm_source: "WeChatGroup",
    utm_campaign: "spring",
    sampshare: encodeURIComponent(
      JSON.stringify({ i: "friend-1", p: "pages/item", d: 1, m: "转发消息卡片" }),
    ),
  },
};

global.wx = {
  request,
  getStorageSync: (key) => storage.get(key) ?? "",
  setStorageSync: (key, value) => storage.set(key, value),
  removeStorageSync: (key) => storage.delete(key),
  getStorage: ({ key, success, fail, complete }) => {
    if (storage.has(key)) success?.({ data: storage.get(key) });
    else fail?.({ errMsg: "getStorage:fail data not found" });
    complete?.({});
  },
  setStorage: ({ key, data, success }) => {
    storage.set(key, data);
    success?.({});
  },
  getSystemInfoSync: () => system,
  getSystemInfo: give(system),
  getNetworkType: give({ networkType: "wifi" }),
  onNetworkStatusChange: () => {},
  setNavigationBarTitle: () => {},
  getAccountInfoSync: () => ({
    miniProgram: { appId: "wx5iyu0mini0000000", envVersion: "release", version: "1.2.3" },
  }),
  getLaunchOptionsSync: () => launch,
  getEnterOptionsSync: () => launch,
  onAppShow: (listener) => listeners.show.push(listener),
  onAppHide: (listener) => listeners.hide.push(listener),
};
let app;
let page;
global.App = (options) => { app = options; };
global.Page = (options) => { page = options; };
global.Component = () => {};
global.getApp = () => app;
global.getCurrentPages = () => [{ route: "pages/item", options: {}, ...page }];

const sensors = load("sa-sdk-miniprogram");
sensors.setPara({
  name: "sensors",
  server_url: serverUrl,
  autoTrack: {
    appLaunch: true, appShow: true, appHide: true, pageShow: true, pageShare: true,
    mpClick: false, mpFavorite: true, pageLeave: false,
  },
  batch_send: { send_timeout: 300, max_length: 6 },
});
sensors.setOpenid(`o${user}`);
sensors.init();

global.App({ onLaunch() {}, onShow() {}, onHide() {} });
global.Page({ onLoad() {}, onShow() {}, onShareAppMessage: () => ({ path: "pages/item" }) });
listeners.show.forEach((listener) => listener(launch));
page.onLoad?.call(page, {});
page.onShow?.call(page);

setTimeout(() => {
  sensors.login(user);
  for (let n = 0; n < Number(events); n += 1) {
    sensors.track("cart_added", { sku: `sku-${n}`, amount: n + 0.5 });
  }
  page.onShareAppMessage?.call(page, {});
  sensors.setProfile({ level: "gold" });
}, 100);
// The SDK sends by its own timer; ours waits until it has nothing left on the way.
const empty = setInterval(() => {
  if (open === 0 && sensors.store.mem.getLength() === 0) {
    clearInterval(empty);
    process.exit(0);
  }
}, 1500);
